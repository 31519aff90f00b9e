"""What a model on disk says about itself (`model.json`), and where installed models are found."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from unstatic.core.config import from_dict, to_dict
from unstatic.core.errors import InputError
from unstatic.core.files import atomic_path, read_object
from unstatic.core.folders import models_folder
from unstatic.core.shapes import Compression, Size

MANIFEST_NAME = "model.json"
EMBEDDED_MODELS = Path(__file__).parent.parent / "weights"
INDEX_NAME = "model_index.json"  # of open weights, see `open_weights.py`
PARTS = ("transformer", "autoencoder")
Given = Literal["nothing", "picture", "pictures", "start", "ends", "beginning", "frames"]
SMALL_AREA = 832 * 480  # pixels of what is called 480p, whichever way round


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingDefaults:
    """How the model samples when nobody says otherwise; the values are measured, see its model card.

    `schedule` names a noise schedule of `diffusion/schedule.py` and `shift` bends it towards static (1 =
    straight), `history_sigma` is the level of the static that is put on finished chunks before the next chunk
    looks back at them. Guidance leads away from the prompt `negative`, and is `late_guidance` below the level
    `boundary` of the manifest unless that is None. `levels`, where there are any, are those that the model
    learned, before the shift: they stand instead of a schedule. With `damped` what is remembered of a film is
    never stronger than it was at first, and with `waypoints` long films see where they go, if the transformer
    reads anchors. `skip_layer_guidance` is how far films are led away from what the transformer says without
    one of its blocks (`generate/stream.py`); 0 spares the pass. Films of no more than `SMALL_AREA` pixels are
    sampled with `small_shift`, if there is one.
    """

    steps: int
    guidance: float
    solver: str
    shift: float
    history_sigma: float
    schedule: Literal["shifted", "wan"] = "shifted"
    negative: str = ""
    late_guidance: float | None = None
    levels: tuple[float, ...] = ()
    damped: bool = True
    waypoints: bool = True
    skip_layer_guidance: float = 0.0
    small_shift: float | None = None

    def shift_at(self, size: Size) -> float:
        """Return the shift for films of a native size."""
        small = self.small_shift if size.width * size.height <= SMALL_AREA else None
        return self.shift if small is None else small


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """How open weights stream: the latent frames that come first, and those that a chunk sees.

    A chunk sees `frames`: its own, the first `sinks` of the film, and the last before it.
    """

    first: int
    frames: int = 21
    sinks: int = 0

    def history_chunks(self, chunk: int) -> int:
        """Return how many chunks are seen before one. Raises InputError where one would be cut in two."""
        before = self.frames - self.sinks - chunk
        if before < 1 or before % chunk not in (0, self.first % chunk):
            raise InputError(
                f"a window of {self.frames} latent frames, {self.sinks} of them sinks, cuts a chunk of"
                f" {chunk} in two: take a multiple"
            )
        return -(-before // chunk)

    def sink_chunks(self, chunk: int) -> int:
        """Return how many chunks the sinks are. Raises InputError where one would be cut in two."""
        beyond = self.sinks - self.first
        if self.sinks and (beyond < 0 or beyond % chunk):
            raise InputError(f"sinks of {self.sinks} latent frames are no whole chunks of {chunk}")
        return 1 + beyond // chunk if self.sinks else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Distilled:
    """How many steps a distilled transformer takes when nobody says otherwise, and how guided it can be.

    It is told `guidance`, or else that of the model's defaults. What distilling leaves of the ordinary
    denoiser is guided a little by itself, so other solvers, which the defaults are for, may want less.
    """

    steps: int
    max_guidance: float
    guidance: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One model: its name and origin, what it can make, and how it likes to be sampled.

    `prediction` is what its transformer outputs. It denoises `chunk` latent frames at a time, or the whole
    video at once if that is None. `sizes` are the model's own, the first is the default;
    frames are enlarged by `enlarge` when nobody names a size, and at most by `max_enlarge`. `expander` names
    the words that prompts are rewritten in before the model reads them: those of the whole "world", those of
    its "objects" for a model that has not seen animals, or "" for none. With `distilled` few steps are the
    default, and `defaults` hold for who asks for another solver. `given` says what may be known of the result
    beforehand: "frames" anywhere, whole chunks at the "beginning", "pictures" (the first frame, which it
    needs, and the last), no more than its "start" (the first frame, which it needs) or both its "ends",
    "picture" (the first frame) or "nothing". From the level `boundary` down a second
    transformer takes over, if not None. `engine` is what runs it. Open weights that stream do so in a
    `window`; our own say how themselves. Their `tiny` decoder, if there is one, makes previews, or films as
    well. Of changes from frame to frame of fewer levels (of 255) than `shimmer` a part is the decoder's, and
    they are damped (`media/shimmer.py`).
    """

    name: str
    preset: str
    summary: str
    licence: str
    text_encoder: str
    prediction: Literal["x0", "velocity", "eps"]
    compression: Compression
    chunk: int | None
    sizes: tuple[Size, ...]
    fps: int
    max_seconds: float
    enlarge: int
    max_enlarge: int
    defaults: SamplingDefaults
    expander: Literal["", "objects", "world"] = ""
    distilled: Distilled | None = None
    given: Given = "frames"
    boundary: float | None = None
    engine: Literal["native", "diffusers", "remote"] = "native"
    window: Window | None = None
    tiny: Literal["previews", "films"] = "previews"
    shimmer: float = 0.0

    def __post_init__(self) -> None:
        if not self.sizes or self.fps < 1 or (self.chunk is not None and self.chunk < 1):
            raise InputError("a model needs at least one size, one frame a second and one frame in a chunk")
        if self.chunk is not None and self.window is not None:
            self.window.history_chunks(self.chunk)
            self.window.sink_chunks(self.chunk)

    @property
    def first_chunk(self) -> int:
        """How many latent frames are denoised together at the start."""
        return 1 if self.window is None else self.window.first

    @property
    def begins_with_picture(self) -> bool:
        """Whether a film needs a picture, which the transformer reads beside the latent."""
        return self.given in ("pictures", "start", "ends")

    @property
    def default_size(self) -> Size:
        """The size of the file made when nobody names one."""
        return Size(self.sizes[0].width * self.enlarge, self.sizes[0].height * self.enlarge)


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A manifest and the folder that holds it together with its weights."""

    folder: Path
    manifest: Manifest

    def weights(self, part: str) -> Path:
        """Return the path, without shard numbers, of one of the `PARTS`."""
        return self.folder / f"{part}.safetensors"

    def size_bytes(self) -> int:
        """Return how many bytes the weights of all parts take on disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*.safetensors") if path.is_file())

    def digest(self) -> str:
        """Return sixteen hex digits that change with any weight and with the manifest."""
        found = hashlib.sha256()
        about = [path for name in (MANIFEST_NAME, INDEX_NAME) if (path := self.folder / name).is_file()]
        weights = [path for path in self.folder.rglob("*.safetensors") if path.is_file()]
        for path in sorted([*about, *weights]):
            with path.open("rb") as file:
                while piece := file.read(1 << 24):
                    found.update(piece)
        return found.hexdigest()[:16]


def read_manifest(folder: Path) -> Manifest:
    """Read `model.json` of a model folder. Raises InputError when it is missing, no JSON, or no manifest."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise InputError(f"{folder} is not a model: it has no {MANIFEST_NAME}")
    fields = read_object(path, "restore the file")
    try:
        return from_dict(Manifest, fields)
    except InputError as error:
        raise InputError(f"{path} does not fit this version of unstatic: {error}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `model.json` into a model folder."""
    with atomic_path(folder / MANIFEST_NAME) as temporary:
        temporary.write_text(json.dumps(to_dict(manifest), indent=2) + "\n", encoding="utf-8")


def installed_folders() -> list[Path]:
    """List the folders of all models that ship inside the package or were pulled, the shipped ones first.

    A folder's name is its model's name. A pulled one may have an index only.
    """
    shipped = sorted(path.parent for path in EMBEDDED_MODELS.glob(f"*/{MANIFEST_NAME}"))
    names = {MANIFEST_NAME, INDEX_NAME}
    pulled = set[Path]()
    with suppress(InputError):  # without a home folder there are none
        pulled = {path.parent for name in names for path in models_folder().glob(f"[!.]*/{name}")}
    return [*shipped, *sorted(each for each in pulled if each.name not in {one.name for one in shipped})]


def open_model(folder: Path) -> InstalledModel:
    """Return the model in `folder`, its weights unread. Raises InputError as `read_manifest` does.

    Open weights need no manifest: without one, it is made of what their own files say.
    """
    if (folder / INDEX_NAME).is_file() and not (folder / MANIFEST_NAME).is_file():
        from unstatic.models.open_manifest import manifest_of

        return InstalledModel(folder, manifest_of(folder))
    return InstalledModel(folder, read_manifest(folder))


def find_model(name: str) -> InstalledModel:
    """Return the installed model called `name`, or else the one in the folder of that path.

    Raises InputError naming the nearest name, or what is wrong with the model's manifest.
    """
    if "://" in name:
        raise InputError(f"{name!r} is a server: for this a model is needed that is on this machine")
    installed = {folder.name: folder for folder in installed_folders()}
    if name in installed:
        return open_model(installed[name])
    if os.path.isdir(name):  # unlike Path.is_dir, false for a name that is too long
        return open_model(Path(name))
    from unstatic.models.pull import OFFERS

    if any(offer.name == name for offer in OFFERS):
        raise InputError(f"{name} is not here yet: fetch it with `unstatic models pull {name}`")
    nearest = get_close_matches(name, installed, n=1, cutoff=0.0)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise InputError(f"there is no model {name!r}: {hint}`unstatic models list` shows what is installed")
