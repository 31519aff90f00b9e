"""What a preset is: everything that decides a model, from the world it sees to how it likes to be sampled."""

from dataclasses import dataclass, field

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression, Size
from unstatic.data.latents import Window
from unstatic.models.manifest import SamplingDefaults
from unstatic.models.text import text_width
from unstatic.models.tiny_autoencoder import TinyAutoencoderConfig
from unstatic.models.transformer import TransformerConfig
from unstatic.training.autoencoder_step import AutoencoderLossConfig, ViewConfig
from unstatic.training.diffusion_step import DiffusionConfig
from unstatic.training.distill_step import DistillConfig
from unstatic.training.loop import TrainingConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldRun:
    """Which clips are rendered: `clips` of `frames` frames, in shards that go through `sizes` in turn.

    `mix` names what is drawn how often (`unstatic.world.mix`); `samples` are rays a pixel. After `seconds`,
    if any, no new shard is begun, however few there are. With `simulated` a clip is any window of a scene of
    so many frames, as a minute has them, and is kept with the first of them.
    """

    clips: int
    frames: int
    sizes: tuple[Size, ...]
    mix: str
    fps: int = 16
    samples: int = 4
    shard_clips: int = 64
    seconds: float = 0.0
    simulated: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderRun:
    """How the autoencoder is trained: `clips` of the rendered ones are enough for it."""

    model: TinyAutoencoderConfig
    training: TrainingConfig
    views: ViewConfig = field(default_factory=ViewConfig)
    loss: AutoencoderLossConfig = field(default_factory=AutoencoderLossConfig)
    batch_size: int
    clips: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionRun:
    """How the transformer is trained, and on which windows of clips.

    Every clip is described in `captions` ways, which are encoded once each; 0 writes a new one every time.
    `compile` fuses small operators, which takes a C++ compiler and half a minute or more for every shape of a
    batch: on two cores with AMX a step then took 61 to 77% of the time (docs/log.md).
    """

    model: TransformerConfig
    text_encoder: str = "minilm"
    training: TrainingConfig
    step: DiffusionConfig = field(default_factory=DiffusionConfig)
    windows: tuple[Window, ...]
    captions: int = 0
    compile: bool = False

    def __post_init__(self) -> None:
        if self.captions < 0:
            raise InputError(f"captions={self.captions}: use 0 for fresh ones, or a number like 6")

    def check_text(self) -> None:
        """Raise InputError if the transformer cannot read what the text encoder says."""
        if self.model.text_width != (width := text_width(self.text_encoder)):
            raise InputError(
                f"text_encoder={self.text_encoder!r} has states of {width} channels, the model reads"
                f" {self.model.text_width}: set diffusion.model.text_width={width}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class FewStepRun:
    """How the finished transformer is distilled; a film then takes `steps` when nobody says otherwise.

    It is guided by `guidance` then, or as the preset's `sampling` says. Distilling makes a guided network
    of the plain one, whatever it is asked (docs/log.md): other solvers need less than that.
    """

    training: TrainingConfig
    step: DistillConfig = field(default_factory=DistillConfig)
    windows: tuple[Window, ...]
    steps: int
    guidance: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LengthRun:
    """How a few-step model learns to go on from its own films, being its own teacher.

    A frozen copy lands where it lands beside the real past, and the student shall land there beside a past
    with its own errors and the first frame of the minute, as in long films (`training/recycle.py`). It sees
    windows of minutes, `world`, and `clips` of the run's ordinary ones.
    """

    world: WorldRun
    training: TrainingConfig
    step: DistillConfig
    windows: tuple[Window, ...]
    clips: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A whole training run, from nothing to a model that can be used.

    `model` is the name of the model it makes. Its manifest gets `summary`, `licence`, `compression`,
    `sampling`, `shimmer` and the sizes of the world. `start` names a model whose weights it begins with, or
    its folder; what is larger here than there is grown (`models/grow.py`). With `few_steps` the transformer
    is distilled, and with `length` taught to go on from its own films after that. `sampling` then suits the
    distilled weights: a run without these stages wants the stronger `few_steps.guidance`.
    """

    name: str
    model: str
    summary: str
    seed: int
    world: WorldRun
    autoencoder: AutoencoderRun
    diffusion: DiffusionRun
    few_steps: FewStepRun | None = None
    length: LengthRun | None = None
    compression: Compression
    sampling: SamplingDefaults
    max_seconds: float = 60.0
    enlarge: int = 4
    max_enlarge: int = 16
    shimmer: float = 0.0
    licence: str = "Apache-2.0"
    start: str = ""

    def __post_init__(self) -> None:
        few = self.few_steps
        own = self.sampling.guidance if few is None or few.guidance is None else few.guidance
        if few and (few.steps < 1 or not 1 <= own <= few.step.max_guidance):
            raise InputError(
                f"few_steps must take a step or more ({few.steps}) and learn the model's own guidance,"
                f" {own:g}: set few_steps.step.max_guidance={own:g}"
            )
        if self.length and few is None:
            raise InputError("length teaches few-step models: give the preset few_steps, or set length=none")
