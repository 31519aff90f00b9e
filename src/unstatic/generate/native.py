"""The native engine: our transformer and autoencoder, on any device, streaming."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from unstatic.core.device import compute_dtype, pick_device
from unstatic.core.errors import InputError
from unstatic.core.memory import keep_freed_memory
from unstatic.core.processes import this_process
from unstatic.core.seeds import stable_seed
from unstatic.diffusion.condition import Condition, LatentState, apply_conditions
from unstatic.diffusion.distilled import SCALARS
from unstatic.diffusion.process import Latent
from unstatic.diffusion.schedule import Schedule, listed, shifted, wan
from unstatic.diffusion.solver import SOLVERS, euler
from unstatic.diffusion.step_cache import StepCache
from unstatic.generate.engine import Event, Frames, Pace, Preview, Progress, Warned
from unstatic.generate.finish import REPEAT, load_interpolator
from unstatic.generate.footage import lasting
from unstatic.generate.joints import JointSmoother, stretches
from unstatic.generate.known import beside, first_frame, last_frame, outside, source, span
from unstatic.generate.request import Plan
from unstatic.generate.stream import (
    Chunk,
    Cut,
    Denoised,
    LateGuidance,
    Sampling,
    Script,
    SkipLayer,
    noise_of_chunk,
    stream_latents,
)
from unstatic.generate.texts import chunk_starts
from unstatic.generate.ways import DISTILLED
from unstatic.media.frames import to_frames, to_tensor
from unstatic.media.shimmer import Damper
from unstatic.models.clip import BorrowedClip
from unstatic.models.experts import chosen
from unstatic.models.fitting import Fit, Fitting
from unstatic.models.interpolator import is_cut
from unstatic.models.lora import attach, parse_use, read_lora
from unstatic.models.manifest import InstalledModel, Manifest
from unstatic.models.parts import Autoencoder, Decoder, Encoder, Parts, Transformer, is_open, load_parts
from unstatic.models.quantise import check_kind
from unstatic.models.room import check_room
from unstatic.models.text import TextEncoder
from unstatic.models.transformer import TextMemory
from unstatic.models.wan_autoencoder import WanAutoencoder
from unstatic.models.wan_tiles import TiledDecoder, TiledEncoder
from unstatic.nn.causal import Memory

SCHEDULES = {"shifted": shifted, "wan": wan}
FRAMES_AT_ONCE = 64  # become pixels; only tiles are decoded to more
VARIATION = 0.25  # of the static's variance is new in a variation: the scene stays, its details change


class NativeEngine:
    """One of our models, loaded and ready; made by `load_native`."""

    def __init__(
        self,
        manifest: Manifest,
        transformer: Transformer,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        device: torch.device,
        sketcher: Decoder | None = None,
        decoder: Decoder | None = None,
        image_encoder: BorrowedClip | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self.manifest = manifest
        self.transformer = transformer
        self.autoencoder = autoencoder
        self.text_encoder = text_encoder
        self.device = device
        self.encoder = encoder or autoencoder
        self.decoder = decoder or autoencoder
        self.sketcher = sketcher or self.decoder
        self.image_encoder = image_encoder

    @torch.inference_mode()
    def stream(self, plan: Plan, *, previews_per_s: float | int = 0) -> Iterator[Event]:
        """Yield progress after every step, and frames as soon as they are final."""
        preview, joints, shimmer = Pace(previews_per_s), self.joints(plan), Damper(self.manifest.shimmer)
        steps, chunks, made = 0, 0, 0
        memory = sketched = None
        for event in self.denoise(plan):
            match event:
                case Warned():
                    yield event
                case Denoised(state=state):
                    steps += 1
                    yield Progress(steps, plan.total_steps)
                    if preview.is_due():
                        sketches = [frames for frames, _ in decode(self.sketcher, state.estimate, sketched)]
                        first, sketch = shown(plan, made, np.concatenate(sketches))
                        if len(sketch):
                            yield Preview(first, sketch)
                case Cut(still=still):  # decoders too forget what came before
                    *_, (_, memory) = decode(self.decoder, still, None)
                    sketched, shimmer = memory, Damper(self.manifest.shimmer)
                    if self.sketcher is not self.decoder and previews_per_s:
                        *_, (_, sketched) = decode(self.sketcher, still, None)
                case Chunk(latent=latent):
                    chunks += 1
                    if steps < chunks * plan.steps:  # known beforehand, wholly or in part
                        steps = chunks * plan.steps
                        yield Progress(steps, plan.total_steps)
                    for decoded, kept in decode(self.decoder, latent, memory):
                        first, frames = shown(plan, *joints.next(shimmer.next(decoded)))
                        if len(frames):
                            yield Frames(first, frames)
                        made, memory = made + len(decoded), kept
                    if self.sketcher is self.decoder:
                        sketched = memory
                    elif previews_per_s:
                        *_, (_, sketched) = decode(self.sketcher, latent, sketched)

    def joints(self, plan: Plan) -> JointSmoother:
        """Return what smooths the joints of the plan's footage; without an interpolator they stay."""
        smooth = bool(plan.footage) and plan.finish.interpolator != REPEAT
        if not smooth:
            return JointSmoother([], lambda one, _: one)
        interpolator = load_interpolator(self.device)
        found = stretches(plan.footage, plan.made, self.manifest.compression)
        cuts = [plan.skip + cut for cut in plan.cut_frames]
        anew = [each for each in found if not any(each.left < cut <= each.right for cut in cuts)]

        def middle(
            one: UInt8[np.ndarray, "h w 3"], other: UInt8[np.ndarray, "h w 3"]
        ) -> UInt8[np.ndarray, "h w 3"] | None:
            pair = to_tensor(np.stack([one, other])).to(self.device)
            if is_cut(pair[None, :, 0], pair[None, :, 1]):
                return None
            return to_frames(interpolator(pair[None, :, 0], pair[None, :, 1])[:, :, None])[0, 0]

        return JointSmoother(anew, middle)

    @torch.inference_mode()
    def denoise(self, plan: Plan) -> Iterator[Warned | Cut | Denoised | Chunk]:
        """Yield the latent video step by step and chunk by chunk, normalised as the autoencoder takes it."""
        # Look at the pictures, and read the prompts
        seen = self.seen(plan)
        sampling = replace(self.sampling(plan), beside=self.pictures(plan))
        compression = self.manifest.compression
        empty = [] if sampling.in_one_pass else [plan.negative]
        # All at once: an encoder that is large is in memory only while it is asked
        every = self.text_encoder.encode([*(text for _, text in plan.texts), *empty])
        for dropped in every.dropped[: len(plan.texts)]:
            if dropped:
                yield Warned(f"the last {dropped} words or parts of words of the prompt do not fit: ignored")

        def read(number: int) -> TextMemory:
            states = every.states[[number, *range(len(plan.texts), len(every.states))]]
            return self.transformer.encode_text(states.to(self.device), seen)

        starts = chunk_starts([first for first, _ in plan.texts], plan.chunks, compression)

        # Lay out what is known, then denoise the rest
        script = Script(starts=starts, read=read, cuts=frozenset(starts[number] for number in plan.cuts))
        known = self.conditions(plan)
        if known:
            end = compression.latent_frames_covering(plan.made)
            state = apply_conditions(self.static(plan), known, end=end)
        else:  # a minute's static is ten megabytes: it is drawn chunk by chunk
            state = LatentState.static(self.no_static(plan), float(self.schedule(plan)[0]))
        draw, lazy = partial(self.static_of_chunk, plan), not known
        yield from stream_latents(
            self.transformer, state, script, sampling, [plan.seed], static=draw, lazy=lazy
        )

    def pictures(self, plan: Plan) -> Latent | None:
        """Return the plan's pictures as channels beside the latent, for a model that reads them there."""
        if not self.manifest.begins_with_picture:
            return None
        assert plan.image is not None, "the plan was checked"
        frames = self.manifest.compression.frames_covering(plan.made)
        return beside(self.encoder, plan.image, plan.last_image, frames)

    def seen(self, plan: Plan) -> Float[Tensor, "1 s e"] | None:
        """Return what an image encoder sees of the plan's pictures, for a model that has one."""
        if self.image_encoder is None:
            return None
        pictures = [each for each in (plan.image, plan.last_image) if each is not None]
        return self.image_encoder.encode(pictures).to(self.device)

    def conditions(self, plan: Plan) -> list[Condition]:
        """Return what is known of the video, its images encoded."""
        known: list[Condition] = []
        if plan.source is not None:
            frames = lasting(plan.source, self.manifest.compression.frames_covering(plan.made))
            known.append(source(self.encoder, frames, plan.strength))
            if plan.mask is not None:
                known.append(outside(self.encoder, frames, plan.mask))
        for footage in plan.footage:
            known += filter(None, [span(self.encoder, footage)])
        if self.manifest.begins_with_picture:  # seen beside the latent
            return [*known, *plan.conditions]
        if plan.image is not None:
            known.append(first_frame(self.encoder, plan.image))
        if plan.last_image is not None:
            known.append(last_frame(self.encoder, plan.last_image))
        return [*known, *plan.conditions]

    def static(self, plan: Plan) -> LatentState:
        """Return the static that the video starts from."""
        edges = accumulate(plan.chunks, initial=0)
        chunks = [self.static_of_chunk(plan, start, stop) for start, stop in pairwise(edges)]
        return LatentState.static(torch.cat(chunks, 2), float(self.schedule(plan)[0]))

    def static_of_chunk(self, plan: Plan, start: int, stop: int) -> Latent:
        """Return the static of the chunk of the latent frames from `start` to `stop` - 1."""
        shape = self.latent_shape(plan)
        static = noise_of_chunk(shape, start, stop, [plan.seed])
        if plan.variation:
            seed = stable_seed("variation", plan.seed, plan.variation)
            static = vary(static, noise_of_chunk(shape, start, stop, [seed]), VARIATION)
        return static.to(self.device)

    def no_static(self, plan: Plan) -> Latent:
        """Return what has the shape of a plan's static, and takes the memory of one number."""
        channels, height, width = self.latent_shape(plan)
        return torch.zeros((), device=self.device).expand(1, channels, sum(plan.chunks), height, width)

    def latent_shape(self, plan: Plan) -> tuple[int, int, int]:
        """Return channels, height and width of a plan's latent frames."""
        width, height = self.manifest.compression.latent_size(plan.native.width, plan.native.height)
        return self.transformer.config.out_channels, height, width

    @torch.inference_mode()
    def reconstruct(self, frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "decoded h w 3"]:
        """Send frames through the autoencoder, there and back; those that fill no latent frame are lost."""
        video = to_tensor(frames)[None].to(self.device)
        return to_frames(self.autoencoder.decode(self.autoencoder.encode(video)))[0]

    def schedule(self, plan: Plan) -> Schedule:
        """Return the levels from static to clean."""
        defaults = self.manifest.defaults
        shift = defaults.shift_at(plan.native)
        if defaults.levels:
            return listed(defaults.levels, shift)
        return SCHEDULES[defaults.schedule](plan.steps, shift)

    def skip_layer(self, plan: Plan) -> SkipLayer | None:
        """Return what films are led away from, if they are: the block after the first quarter is left out."""
        if not plan.skip_layer_guidance:
            return None
        return SkipLayer(self.transformer.config.depth // 4, plan.skip_layer_guidance)

    def sampling(self, plan: Plan) -> Sampling:
        """Return how the video is sampled."""
        boundary, late = self.manifest.boundary, plan.late_guidance
        return Sampling(
            sigmas=self.schedule(plan),
            solver=euler if plan.solver == DISTILLED else SOLVERS[plan.solver],
            prediction=self.manifest.prediction,
            guidance=plan.guidance,
            late_guidance=None if boundary is None or late is None else LateGuidance(boundary, late),
            guidance_interval=plan.guidance_interval,
            skip_layer=self.skip_layer(plan),
            history_sigma=self.manifest.defaults.history_sigma,
            cache=StepCache(plan.step_cache, boundary),
            distilled=plan.solver == DISTILLED,
            thousandths=self.manifest.defaults.schedule == "wan",
            damped=self.manifest.defaults.damped,
            waypoints=self.manifest.defaults.waypoints,
        )


def decode(
    decoder: Decoder, latent: Latent, memory: Memory | None
) -> Iterator[tuple[UInt8[np.ndarray, "frames height width 3"], Memory]]:
    """Decode the next latent frames of a video, few at a time; yield frames, and what they remember."""
    for piece in latent.split(decoder.latent_frames_per_pass, 2):
        video, memory = decoder.decode_stream(piece, memory)
        for part in video.split(FRAMES_AT_ONCE, 2):
            yield rearrange(to_frames(part), "1 t h w c -> t h w c"), memory


def vary(static: Latent, other: Latent, share: float) -> Latent:
    """Mix another static into one, to unit variance again; `share` of the variance is the other's."""
    return (1 - share) ** 0.5 * static + share**0.5 * other


def shown(
    plan: Plan, made: int, frames: UInt8[np.ndarray, "t h w 3"]
) -> tuple[int, UInt8[np.ndarray, "shown h w 3"]]:
    """Return what is shown of the frames that come after `made` others, and the number of its first."""
    first = max(0, made - plan.skip)
    return first, frames[max(0, plan.skip - made) : max(0, plan.skip + plan.frames - made)]


def load_native(
    model: InstalledModel,
    *,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    loras: Sequence[str] = (),
    adaptable: bool = False,
    quantise: str | None = None,
    offload: bool = False,
    tiled: bool = False,
) -> NativeEngine:
    """Load the weights of `model` on a device ("cpu", "cuda", ...; the best one when None).

    They compute as `dtype`, by default what is fastest there. `loras` are files, "FILE@WEIGHT", that change
    them for good, or until they are detached if the engine shall be `adaptable`, which is slower on a CPU.
    `quantise` is "int8" or "fp8", in which the transformer's large matrices stay. With `offload` its blocks
    come one by one: to a CPU from their files, to another device from the computer's memory. With `tiled`
    pictures are encoded and decoded in tiles.
    The process keeps freed memory from here on. Raises InputError for missing, damaged or foreign files.
    """
    keep_freed_memory()
    target = pick_device(device)
    if model.manifest.engine != "native":
        raise InputError(f"{model.manifest.name} is run by {model.manifest.engine}: take a native model")
    uses = [(use, read_lora(use.path)) for use in map(parse_use, loras)]
    dtype = dtype or compute_dtype(target)
    fit = _checked_fit(quantise, offload, target, adaptable)
    if tiled:
        _check_tiles(model)
    check_room(model, target, dtype, fit)
    if model.manifest.boundary is None and any(use.part for use, _ in uses):
        raise InputError(f"{model.manifest.name} is no pair of transformers: leave early: and late: out")
    early, late = (
        Fitting(
            device=target,
            fit=fit,
            loras=tuple((lora, use.weight) for use, lora in uses if not adaptable and use.part in ("", part)),
            prepare=target.type == "cpu" and not adaptable,
        )
        for part in ("early", "late")
    )
    parts = load_parts(model, dtype, early, late)
    _check_that_parts_fit(model, parts)
    transformer = parts.transformer
    for use, lora in uses if adaptable else ():
        for each in chosen(transformer, use.part):
            attach(each, lora, use.weight)
    autoencoder = parts.autoencoder.to(target).eval()
    encoder, decoder = _tiled(autoencoder, model.manifest) if tiled else (autoencoder, autoencoder)
    sketcher = parts.sketcher and parts.sketcher.to(target).eval()
    return NativeEngine(
        model.manifest,
        transformer,
        autoencoder,
        parts.text_encoder,
        target,
        sketcher,
        decoder,
        parts.image_encoder,
        encoder,
    )


def _check_tiles(model: InstalledModel) -> None:
    """Raise InputError for a model whose autoencoder has no tiles."""
    if not is_open(model) or model.manifest.tiny == "films":
        raise InputError(
            f"the tiny decoder of {model.manifest.name} takes little memory anyway: leave --tiles out"
        )


def _tiled(autoencoder: Autoencoder, manifest: Manifest) -> tuple[TiledEncoder, TiledDecoder]:
    assert isinstance(autoencoder, WanAutoencoder), "tiles were checked"
    return TiledEncoder(autoencoder), TiledDecoder(autoencoder, streams=manifest.chunk is not None)


def _checked_fit(quantise: str | None, offload: bool, device: torch.device, adaptable: bool) -> Fit:
    """Return what saves memory. Raises InputError for what does not go together."""
    kind = None if quantise is None else check_kind(quantise, device)
    if offload and adaptable:
        raise InputError(
            "blocks that come one by one take LoRAs for good only: leave offload or adaptable out"
        )
    if offload and device.type == "cpu" and kind is not None:
        raise InputError("on a CPU --offload reads weights as their files have them: leave --quantise out")
    if offload and device.type == "cpu" and this_process().size > 1:
        raise InputError("on a CPU --offload is for one process: start it without torchrun")
    return Fit(quantise=kind, offload=offload)


def _check_that_parts_fit(model: InstalledModel, parts: Parts) -> None:
    manifest = model.manifest
    transformer, autoencoder, text_encoder = parts.transformer, parts.autoencoder, parts.text_encoder
    facts = {
        "chunk": (manifest.chunk, transformer.config.chunk),
        "compression": (manifest.compression, autoencoder.config.compression),
        "latent channels": (autoencoder.config.latent_channels, transformer.config.out_channels),
        "text width": (text_encoder.width, transformer.config.text_width),
    }
    latent, beside = transformer.config.out_channels, transformer.config.in_channels
    if beside > latent:  # a picture's latent, and which frames of it are given
        facts["channels beside the latent"] = (beside - latent, manifest.compression.time + latent)
    if parts.image_encoder is not None:
        seen, count = transformer.config.picture_positions, 2 * parts.image_encoder.tokens
        facts["width of what is seen"] = (parts.image_encoder.width, transformer.config.picture_width)
        facts["tokens of two pictures"] = (count if seen is None else seen, count)
    if parts.sketcher is not None:
        sketched = parts.sketcher.config.latent_channels
        facts["tiny decoder's channels"] = (sketched, transformer.config.out_channels)
    for name, (one, other) in facts.items():
        if one != other:
            raise InputError(
                f"{model.folder}: its files disagree on {name}, {one} or {other}: restore the model"
            )
    if manifest.distilled and not set(SCALARS) <= set(transformer.config.scalars):
        raise InputError(f"{model.folder}: model.json says distilled, but the transformer is not: restore it")
