"""The training run of the parser that judges generated clips: renders in, a file of weights out."""

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from unstatic.core.device import pick_device
from unstatic.core.seeds import generator, numpy_generator
from unstatic.data.loader import Clips, clips_by_size
from unstatic.data.shards import Shard, open_shards
from unstatic.evals.parser import FRAME_STEP, KIND, VOCABULARY, Parser, pair_numbers
from unstatic.evals.parser_network import (
    DIRECTIONS,
    MASK_SCALE,
    MOTION_SCALE,
    ParserConfig,
    ParserNet,
    smaller,
    sure,
)
from unstatic.media.frames import contact_sheet
from unstatic.models.weights import save_model
from unstatic.presets.fit import fit
from unstatic.presets.nano import NANO_64_SIZES
from unstatic.presets.preset import WorldRun
from unstatic.presets.render import render_clips
from unstatic.presets.spoil import recolour, spoil
from unstatic.training.loop import Run, TrainingConfig
from unstatic.training.optim import OptimiserConfig, kernel_weights, linear_weights
from unstatic.training.step import StepOutput
from unstatic.world.physics import hero_index
from unstatic.world.render import PROP_ID
from unstatic.world.spec import COLOURS, EVENTS, SHAPES, SceneSpec

UNSAID = -1
# How many of the closer looks are told where to look, and how much rare events are preferred (1 = all alike)
TOLD = 0.5
RARITY = 0.75
MIRRORED = {"left": "right", "right": "left"}

Video = Float[Tensor, "b 3 t h w"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParserRun:
    """What the parser is trained on, and how; the last `held_back` shards of clips are never trained on."""

    world: WorldRun
    model: ParserConfig
    training: TrainingConfig
    batch_size: int
    frames: int
    pictures: int
    held_back: int


def parser_64() -> ParserRun:
    """Train the shipped parser: six minutes of one core, and as many for rendering the clips."""
    return ParserRun(
        world=WorldRun(
            clips=9_536,
            frames=65,
            sizes=NANO_64_SIZES,
            mix="first-light",
        ),
        model=ParserConfig(),
        training=TrainingConfig(
            samples=20_000,
            warm_up=800,
            cooldown=0.4,
            half_lives=(1_500.0,),
            optimiser=OptimiserConfig(learning_rate=2e-3, matrix_learning_rate=5e-3),
        ),
        batch_size=16,
        frames=63,
        pictures=4,
        held_back=2,
    )


def train_parser(settings: ParserRun, folder: Path, *, device: str | None = None) -> Path:
    """Render what is missing in FOLDER/clips, train in FOLDER/parser, return FOLDER/parser.safetensors."""
    render_clips(settings.world, folder / "clips", seed=settings.training.seed)
    shards = open_shards(folder / "clips", "clips")
    network = ParserNet(settings.model)
    initialise(network, generator("parser", settings.training.seed))
    run = Run(network, settings.training, matrices=matrices(network), device=pick_device(device))
    batches = ParserBatches(shards[: -settings.held_back], settings)

    def picture() -> UInt8[np.ndarray, "y x 3"]:
        return reading_sheet(averaged(run, settings.model), shards[-1])

    fit("parser", run, ParserStep(network), batches, folder / "parser", picture=picture)
    path = folder / "parser.safetensors"
    save_model(path, averaged(run, settings.model), settings.model, KIND, dtype=torch.float16)
    return path


def initialise(network: ParserNet, source: torch.Generator) -> None:
    """Draw all weights anew: variance kept through rectifiers, biases zero."""
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=source)
        elif name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("last.weight"):  # a residual path begins as almost nothing
                parameter.mul_(0.2)


def matrices(network: ParserNet) -> list[str]:
    """Name the weights for Muon: all but the last layers, which pick words."""
    return kernel_weights(network) + [
        name for name in linear_weights(network) if name.split(".")[0] not in VOCABULARY
    ]


def averaged(run: Run, config: ParserConfig) -> ParserNet:
    """Return a copy of the network with its averaged weights."""
    network = ParserNet(config)
    network.load_state_dict(run.model.state_dict())
    run.averages[-1].copy_to(network)
    return network.eval()


# ------------------------------------------------------------------------------------------------------- data


class Labels(NamedTuple):
    """The right answers of clips, as numbers in the vocabulary; UNSAID is not counted."""

    colour: Int[Tensor, "b"]
    shape: Int[Tensor, "b"]
    event: Int[Tensor, "b"]
    direction: Int[Tensor, "b"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParserBatch:
    """Renders in [-1, 1] with the masks that should be found in them, and the right answers.

    A few pictures of each clip show its looks, small pairs of neighbouring frames its motion.
    """

    pictures: Float[Tensor, "b 3 shown h w"]
    objects: Float[Tensor, "b shown _ _"]
    pairs: Float[Tensor, "b 3 twice small_h small_w"]
    hero: Float[Tensor, "b moments _ _"]
    labels: Labels

    @property
    def num_samples(self) -> int:
        """How many clips these are."""
        return len(self.pairs)

    def to(self, device: torch.device) -> "ParserBatch":
        """Move everything to a device."""
        return ParserBatch(
            pictures=self.pictures.to(device),
            objects=self.objects.to(device),
            pairs=self.pairs.to(device),
            hero=self.hero.to(device),
            labels=Labels(*(each.to(device) for each in self.labels)),
        )


class Example(NamedTuple):
    """One clip as it is stored: pairs of frames, what is at every pixel, and the right answers."""

    frames: UInt8[Tensor, "twice h w 3"]
    ids: UInt8[Tensor, "twice h w"]
    hero_id: int
    answers: list[int]


class ParserBatches:
    """Batches by number, drawn from rendered clips and mirrored by chance; rare events come up more often."""

    def __init__(self, shards: Sequence[Shard], settings: ParserRun):
        self.sizes = clips_by_size(shards, "frames")
        self.chances = [event_chances(clips) for clips in self.sizes]
        self.settings = settings

    def at(self, index: int) -> ParserBatch:
        """Return batch `index`."""
        rng = numpy_generator("parser batch", self.settings.training.seed, index)
        clips = [self._example(*entry, rng) for entry in self._draw(rng)]
        video = torch.stack([clip.frames for clip in clips]).float() / 127.5 - 1
        video = rearrange(video, "b t h w c -> b c t h w")
        shown = rng.choice(video.shape[2], self.settings.pictures, replace=False)

        objects = [(clip.ids[shown] > 0) & (clip.ids[shown] != PROP_ID) for clip in clips]
        heroes = [clip.ids[1::2] == clip.hero_id for clip in clips]
        return ParserBatch(
            pictures=video[:, :, shown],
            objects=coarse(torch.stack(objects), MASK_SCALE),
            pairs=smaller(video),
            hero=coarse(torch.stack(heroes), MASK_SCALE * MOTION_SCALE),
            labels=Labels(*torch.tensor([clip.answers for clip in clips]).unbind(1)),
        )

    def _draw(self, rng: np.random.Generator) -> list[tuple[Shard, int]]:
        """Draw clips of one size."""
        lengths = np.array([len(clips) for clips in self.sizes])
        size = int(rng.choice(len(lengths), p=lengths / lengths.sum()))
        numbers = rng.choice(lengths[size], self.settings.batch_size, p=self.chances[size])
        return [self.sizes[size][int(number)] for number in numbers]

    def _example(self, shard: Shard, entry: int, rng: np.random.Generator) -> Example:
        """Read one clip from one of its first frames on."""
        spec = SceneSpec.from_json(shard.lines[entry])
        start, mirrored = int(rng.integers(FRAME_STEP)), bool(rng.random() < 0.5)
        numbers = start + np.array(pair_numbers(self.settings.frames))
        frames, ids = (torch.from_numpy(shard.read(name, entry)[numbers]) for name in ("frames", "ids"))
        if mirrored:
            frames, ids = frames.flip(2), ids.flip(2)
        return Example(frames, ids, hero_index(spec) + 1, answers(spec, mirrored=mirrored))


def event_chances(clips: Clips) -> Float[np.ndarray, "n"]:
    """Return how likely each clip is drawn: an event comes up by the fourth root of its share."""
    entries = [clips[number] for number in range(len(clips))]
    events = [SceneSpec.from_json(shard.lines[entry]).event for shard, entry in entries]
    counts = Counter(events)
    weights = np.array([counts[event] ** -RARITY for event in events])
    return weights / weights.sum()


def coarse(mask: Bool[Tensor, "b n h w"], scale: int) -> Float[Tensor, "b n rows columns"]:
    """Return the share of each cell of `scale` x `scale` pixels that a mask covers."""
    return reduce(mask.float(), "b n (h p) (w q) -> b n h w", "mean", p=scale, q=scale)


def answers(spec: SceneSpec, *, mirrored: bool = False) -> list[int]:
    """Return the right answers for a scene, or for its mirror image, in the order of `Labels`.

    Which of several objects is the hero is not seen in one picture: then colour and shape are UNSAID.
    """
    hero = spec.objects[hero_index(spec)]
    direction = MIRRORED.get(hero.direction, hero.direction) if mirrored else hero.direction
    alone = len(spec.objects) == 1
    return [
        COLOURS.index(hero.colour) if alone else UNSAID,
        SHAPES.index(hero.shape) if alone else UNSAID,
        EVENTS.index(spec.event),
        DIRECTIONS.index(direction) if direction else UNSAID,
    ]


# --------------------------------------------------------------------------------------------------- learning


class ParserStep:
    """Cross-entropies of the four answers and of both masks.

    Closer looks see false colours, since shapes have none, and half of them are told where to look: what cuts
    out something else teaches nothing.
    """

    def __init__(self, network: ParserNet):
        self.network = network

    def __call__(self, batch: ParserBatch, generator: torch.Generator) -> StepOutput:
        labels, shown = batch.labels, batch.pictures.shape[2]
        pictures = rearrange(spoil(batch.pictures, generator), "b c t h w -> (b t) c h w")
        objects = rearrange(batch.objects, "b t h w -> (b t) 1 h w")
        is_told = (torch.rand((len(objects), 1, 1, 1), generator=generator) < TOLD).to(objects.device)

        found = self.network.find(pictures)
        cover = torch.where(is_told, objects, sure(found.mask.detach()))
        shape = self.network.look(recolour(pictures, generator), cover)
        motion = self.network.watch(spoil(batch.pairs, generator))
        losses = {
            "colour": cross_entropy(found.colour, labels.colour.repeat_interleave(shown)),
            "shape": cross_entropy(shape, labels.shape.repeat_interleave(shown)),
            "event": cross_entropy(motion.event, labels.event),
            "direction": cross_entropy(motion.direction, labels.direction),
            "objects": 8 * F.binary_cross_entropy_with_logits(found.mask.float(), objects),
            "hero": 4 * F.binary_cross_entropy_with_logits(motion.mask.float(), batch.hero),
        }
        return StepOutput(
            loss=torch.stack(list(losses.values())).sum(),
            metrics={name: loss.item() for name, loss in losses.items()},
        )


def cross_entropy(logits: Float[Tensor, "b words"], labels: Int[Tensor, "b"]) -> Float[Tensor, ""]:
    """Return the cross-entropy over the batch; what is UNSAID adds nothing."""
    return F.cross_entropy(logits.float(), labels, ignore_index=UNSAID, reduction="sum") / len(labels)


def reading_sheet(network: ParserNet, shard: Shard) -> UInt8[np.ndarray, "y x 3"]:
    """Draw the first clips of a shard with what the network reads in them."""
    parser = Parser(copy.deepcopy(network).eval())
    clips = [shard.read("frames", entry) for entry in range(min(12, len(shard)))]
    readings = [parser.read(clip) for clip in clips]
    return contact_sheet(clips, [f"{r.colour} {r.shape}: {r.event} {r.direction}" for r in readings])
