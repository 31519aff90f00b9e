"""Train the network that judges clips: `python scripts/fit_parser.py FOLDER`, weights in FOLDER."""

import argparse
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
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from spoil import recolour, spoil
from torch import Tensor

from unstatic.core.device import pick_device
from unstatic.core.seeds import generator, numpy_generator
from unstatic.data.loader import Clips, clips_by_size
from unstatic.data.shards import Shard, open_shards
from unstatic.evals.parser import FRAME_STEP, KIND, Parser, alike, pair_numbers
from unstatic.evals.parser_network import (
    LOOKS,
    MASK_SCALE,
    MOTION_SCALE,
    ParserConfig,
    ParserNet,
    sharpened,
    smaller,
)
from unstatic.evals.readings import ACTIONS, CAMERA_MOVES, DIRECTIONS, MIRRORED, camera_move
from unstatic.media.frames import contact_sheet
from unstatic.models.weights import save_model
from unstatic.presets.fit import fit
from unstatic.presets.nano import NANO_64_SIZES
from unstatic.presets.preset import WorldRun
from unstatic.presets.render import render_clips
from unstatic.training.loop import Run, TrainingConfig
from unstatic.training.optim import OptimiserConfig, kernel_weights, linear_weights
from unstatic.training.step import StepOutput
from unstatic.world.physics import hero_index
from unstatic.world.spec import ANIMALS, SHAPES, ObjectSpec, SceneSpec

UNSAID = -1
HEADS = ("shape", "animal", "event", "direction", "camera")
# How many of the closer looks are told where to look, and how many of those at objects see false colours
TOLD, RECOLOURED = 0.5, 0.5
# How much it counts to tell a thing from a single picture
ALONE = 0.5
# How much rare events and rare moves of the camera are preferred (1 = all alike)
EVENT_RARITY, CAMERA_RARITY = 0.75, 0.5
# How much small pictures are spoilt: they are softer and less noisy than what they were made from
SPOILT_MOTION = 0.4
# What shows fewer pixels than this cannot be looked at closely
LEAST_PIXELS = 24

Video = Float[Tensor, "b 3 t h w"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParserRun:
    """What the parser is trained on, and how, but for the last `held_back` shards of each world."""

    worlds: tuple[WorldRun, ...]
    model: ParserConfig
    training: TrainingConfig
    batch_size: int
    frames: int
    pictures: int
    held_back: int


def parser_64() -> ParserRun:
    """Train the parser of the whole world: about 25 minutes of one core, besides rendering.

    The weights in the package were not made in one run: after 50,000 clips of these worlds, 30,000 more, 70%
    of them drawn as the suites are (5,568 scenes of other seeds), spoilt less; then the closer look alone and
    motion alone for some minutes each. docs/explanation/evaluation.md says what they read right.
    """
    return ParserRun(
        worlds=(
            WorldRun(clips=17_600, frames=65, sizes=NANO_64_SIZES, mix="balanced"),
            WorldRun(clips=4_096, frames=65, sizes=NANO_64_SIZES, mix="whole"),
        ),
        model=ParserConfig(),
        training=TrainingConfig(
            samples=30_000,
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
    shards: list[Shard] = []
    for world in settings.worlds:
        render_clips(world, folder / "clips" / world.mix, seed=settings.training.seed)
        shards += open_shards(folder / "clips" / world.mix, "clips")[: -settings.held_back]
    network = ParserNet(settings.model)
    initialise(network, generator("parser", settings.training.seed))
    run = Run(network, settings.training, matrices=matrices(network), device=pick_device(device))
    batches = ParserBatches(shards, settings)

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
        name for name in linear_weights(network) if name.split(".")[0] not in HEADS
    ]


def averaged(run: Run, config: ParserConfig) -> ParserNet:
    """Return a copy of the network with its averaged weights."""
    network = ParserNet(config)
    network.load_state_dict(run.model.state_dict())
    run.averages[-1].copy_to(network)
    return network.eval()


# ------------------------------------------------------------------------------------------------------- data


class Labels(NamedTuple):
    """The right answers about whole clips, as numbers in the vocabulary; UNSAID is not counted."""

    event: Int[Tensor, "b"]
    direction: Int[Tensor, "b"]
    camera: Int[Tensor, "b"]


class Subject(NamedTuple):
    """One thing of each clip, to be looked at closely: where it is, if it is seen, and what it is or UNSAID.

    `kin` marks which of LOOKS its cells may be taken for.
    """

    cover: Float[Tensor, "*b shown _ _"]
    seen: Bool[Tensor, "*b shown"]
    kin: Bool[Tensor, "*b looks"]
    shape: Int[Tensor, "*b"]
    animal: Int[Tensor, "*b"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParserBatch:
    """Renders in [-1, 1] with what should be found in them, and the right answers.

    A few pictures of each clip show its looks, small pairs of neighbouring frames its motion; `moments` are
    the second frames of the pairs in full size.
    """

    pictures: Float[Tensor, "b 3 shown h w"]
    looks: Float[Tensor, "b shown looks _ _"]
    subject: Subject
    pairs: Float[Tensor, "b 3 twice small_h small_w"]
    moments: Float[Tensor, "b 3 moments h w"]
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
            looks=self.looks.to(device),
            subject=Subject(*(each.to(device) for each in self.subject)),
            pairs=self.pairs.to(device),
            moments=self.moments.to(device),
            hero=self.hero.to(device),
            labels=Labels(*(each.to(device) for each in self.labels)),
        )


class Example(NamedTuple):
    """One clip as it is stored: its scene, pairs of frames, what is at every pixel, and the right answers."""

    spec: SceneSpec
    frames: UInt8[Tensor, "twice h w 3"]
    ids: UInt8[Tensor, "twice h w"]
    answers: list[int]


class ParserBatches:
    """Batches by number, drawn from rendered clips and mirrored by chance; rare events come up more often."""

    def __init__(self, shards: Sequence[Shard], settings: ParserRun):
        self.sizes = clips_by_size(shards, "frames")
        self.chances = [clip_chances(clips) for clips in self.sizes]
        self.settings = settings

    def at(self, index: int) -> ParserBatch:
        """Return batch `index`."""
        rng = numpy_generator("parser batch", self.settings.training.seed, index)
        clips = [self._example(*entry, rng) for entry in self._draw(rng)]
        video = torch.stack([clip.frames for clip in clips]).float() / 127.5 - 1
        video = rearrange(video, "b t h w c -> b c t h w")
        shown = rng.choice(video.shape[2], self.settings.pictures, replace=False)

        ids = [clip.ids[shown] for clip in clips]
        looks = [looks_at(clip.spec, each) for clip, each in zip(clips, ids, strict=True)]
        subjects = [subject_in(clip.spec, each, rng) for clip, each in zip(clips, ids, strict=True)]
        heroes = [clip.ids[1::2] == hero_index(clip.spec) + 1 for clip in clips]
        return ParserBatch(
            pictures=video[:, :, shown],
            looks=torch.stack(looks),
            subject=Subject(*(torch.stack(parts) for parts in zip(*subjects, strict=True))),
            pairs=smaller(video),
            moments=video[:, :, 1::2],
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
        return Example(spec, frames, ids, answers(spec, mirrored=mirrored))


def clip_chances(clips: Clips) -> Float[np.ndarray, "n"]:
    """Return how likely each clip is drawn: rare events, and rare moves of the camera, less rarely."""
    specs = [
        SceneSpec.from_json(shard.lines[entry]) for shard, entry in map(clips.__getitem__, range(len(clips)))
    ]
    events = Counter(spec.event for spec in specs)
    moves = Counter(camera_move(spec.camera) for spec in specs)
    weights = np.array(
        [
            events[spec.event] ** -EVENT_RARITY * moves[camera_move(spec.camera)] ** -CAMERA_RARITY
            for spec in specs
        ]
    )
    return weights / weights.sum()


def look_of(each: ObjectSpec) -> int:
    """Return which of LOOKS the cells of an object show."""
    return LOOKS.index(each.shape if each.is_animal else each.colour)


def looks_at(spec: SceneSpec, ids: UInt8[Tensor, "n h w"]) -> Float[Tensor, "n looks _ _"]:
    """Return the share of each cell that each of LOOKS covers."""
    table = torch.zeros(256, dtype=torch.long)
    table[1 : len(spec.objects) + 1] = torch.tensor([look_of(each) for each in spec.objects])
    masks = F.one_hot(table[ids.long()], len(LOOKS))
    return coarse(rearrange(masks, "n h w looks -> n looks h w"), MASK_SCALE)


def subject_in(spec: SceneSpec, ids: UInt8[Tensor, "n h w"], rng: np.random.Generator) -> Subject:
    """Choose an object that is seen in some of the pictures, if there is any."""
    labels = torch.arange(1, len(spec.objects) + 1, dtype=torch.uint8)
    seen = (ids[:, None] == labels[:, None, None]).sum((2, 3)) >= LEAST_PIXELS
    scores = torch.from_numpy(rng.random(len(labels))) + seen.any(0)
    best = int(scores.argmax())
    each, said = spec.objects[best], bool(seen[:, best].any())
    return Subject(
        cover=coarse(ids == labels[best], MASK_SCALE),
        seen=seen[:, best],
        kin=torch.tensor([look in kin_of(each) for look in LOOKS]),
        shape=torch.tensor(SHAPES.index(each.shape) if said and not each.is_animal else UNSAID),
        animal=torch.tensor(ANIMALS.index(each.shape) if said and each.is_animal else UNSAID),
    )


def kin_of(each: ObjectSpec) -> tuple[str, ...]:
    """Return what an object's cells may be taken for when it is looked for."""
    return ANIMALS if each.is_animal else alike(each.colour)


def coarse(mask: Shaped[Tensor, "*n h w"], scale: int) -> Float[Tensor, "*n rows columns"]:
    """Return the share of each cell of `scale` x `scale` pixels that a mask covers."""
    return reduce(mask.float(), "... (h p) (w q) -> ... h w", "mean", p=scale, q=scale)


def answers(spec: SceneSpec, *, mirrored: bool = False) -> list[int]:
    """Return the right answers for a scene, or for its mirror image, in the order of `Labels`."""
    hero = spec.objects[hero_index(spec)]
    direction = MIRRORED[hero.direction] if mirrored and hero.direction else hero.direction
    return [
        ACTIONS.index(spec.event),
        DIRECTIONS.index(direction) if direction else UNSAID,
        CAMERA_MOVES.index(camera_move(spec.camera)),
    ]


# --------------------------------------------------------------------------------------------------- learning


class ParserStep:
    """Cross-entropies of what cells show, of closer looks and of answers about clips, and the hero's mask.

    Half of the closer looks at objects see false colours, since shapes have none, and half of them are told
    where to look: what cuts out something else teaches nothing.
    """

    def __init__(self, network: ParserNet):
        self.network = network

    def __call__(self, batch: ParserBatch, generator: torch.Generator) -> StepOutput:
        # Single pictures
        pictures = spoil(batch.pictures, generator).float()
        found = self.network.find(rearrange(pictures, "b c t h w -> (b t) c h w")).float()
        losses = {"looks": looks_error(found, batch.looks.flatten(0, 1))}

        # Things in several pictures, and in each of them
        subject, clips = batch.subject, len(pictures)
        cover = covers(found.detach().softmax(1).unflatten(0, (clips, -1)), subject, generator)
        false = rearrange(falsified(pictures, subject.animal, generator), "b c t h w -> (b t) c h w")
        close = self.network.look(false, cover).unflatten(0, (clips, -1))
        together = self.network.tell(close, subject.seen.float())
        alone = self.network.tell(close.flatten(0, 1)[:, None], subject.seen.float().flatten()[:, None])
        for name in ("shape", "animal"):
            label: Tensor = getattr(subject, name)
            labels = torch.where(subject.seen, label[:, None], UNSAID).flatten()
            losses[name] = cross_entropy(getattr(together, name), label)
            losses[f"{name} alone"] = ALONE * cross_entropy(getattr(alone, name), labels)

        # Whole clips
        pairs = torch.lerp(batch.pairs, spoil(batch.pairs, generator).float(), SPOILT_MOTION)
        told = torch.rand((clips, 1, 1, 1), generator=generator) < TOLD
        heroes = rearrange(batch.hero * told.to(pairs.device), "b t h w -> (b t) 1 h w")
        motion = self.network.watch(pairs, spoil(batch.moments, generator).float(), heroes)
        for name in Labels._fields:
            losses[name] = cross_entropy(getattr(motion, name), getattr(batch.labels, name))
        losses["hero"] = 4 * F.binary_cross_entropy_with_logits(motion.mask.float(), batch.hero)
        return StepOutput(
            loss=torch.stack(list(losses.values())).sum(),
            metrics={name: loss.item() for name, loss in losses.items()},
        )


def looks_error(
    found: Float[Tensor, "n looks h w"], looks: Float[Tensor, "n looks h w"]
) -> Float[Tensor, ""]:
    """Return the cross-entropy of cells, as if half of every picture were objects."""
    error = -(looks * found.log_softmax(1)).sum(1)
    something = 1 - looks[:, 0]
    return (error * something).sum() / (something.sum() + 1) + (error * looks[:, 0]).mean()


def falsified(video: Video, animals: Int[Tensor, "b"], generator: torch.Generator) -> Video:
    """Give some objects false colours, all pictures the same; animals keep theirs, which tell them apart."""
    chosen = torch.rand(len(video), generator=generator) < RECOLOURED
    chosen = chosen.to(video.device) & (animals == UNSAID)
    false = recolour(rearrange(video, "b c t h w -> b c (t h) w"), generator)
    false = rearrange(false, "b c (t h) w -> b c t h w", h=video.shape[3])
    return torch.where(chosen[:, None, None, None, None], false, video)


def covers(
    found: Float[Tensor, "b t looks h w"], subject: Subject, generator: torch.Generator
) -> Float[Tensor, "n 1 h w"]:
    """Return where to look closely, picture by picture: where something is, or where it was found."""
    told = (torch.rand(len(found), generator=generator) < TOLD).to(found.device)
    seen = sharpened(torch.einsum("btlhw,bl->bthw", found, subject.kin.float()).flatten(0, 1)[:, None])
    told = told.repeat_interleave(found.shape[1])[:, None, None, None]
    return torch.where(told, subject.cover.flatten(0, 1)[:, None], seen)


def cross_entropy(logits: Float[Tensor, "n words"], labels: Int[Tensor, "n"]) -> Float[Tensor, ""]:
    """Return the cross-entropy over the batch; what is UNSAID adds nothing."""
    return F.cross_entropy(logits.float(), labels, ignore_index=UNSAID, reduction="sum") / len(labels)


def reading_sheet(network: ParserNet, shard: Shard) -> UInt8[np.ndarray, "y x 3"]:
    """Draw the first clips of a shard with what the network reads in them."""
    parser = Parser(copy.deepcopy(network).eval())
    clips = [shard.read("frames", entry) for entry in range(min(12, len(shard)))]
    readings = [parser.read(clip) for clip in clips]
    return contact_sheet(clips, [f"{r.colour} {r.shape} {r.animal}: {r.event} {r.camera}" for r in readings])


def main() -> None:
    """Train the network in the folder that is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where renders, checkpoints and weights go")
    options = parser.parse_args()
    print(train_parser(parser_64(), options.folder))


if __name__ == "__main__":
    main()
