"""Read a clip with a network: its objects and animals, what happens, and what the camera does.

A small network that has only ever seen renders. It judges models and is never a loss of one.

Every word of the world is a class of its own: in the renders a fair judge can tell all of them apart (a ball
or a cone that spins is always checkered). Two objects of one scene never have colours that are easily mixed
up (`world.mix.contrast`): what is taken for similar colours is one object.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from unstatic.evals.parser_network import LOOKS, Close, Motion, ParserConfig, ParserNet, sharpened, smaller
from unstatic.evals.readings import ACTIONS, CAMERA_MOVES, DIRECTIONS, MIRRORED, Frames, Reading, Thing
from unstatic.models.weights import load_model
from unstatic.world.mix import contrast
from unstatic.world.spec import ANIMALS, COLOURS, MOTIONS, SHAPES

PARSER_WEIGHTS = Path(__file__).parent.parent / "weights" / "parser" / "parser.safetensors"
KIND = "parser"
VOCABULARY = {"event": ACTIONS, "direction": DIRECTIONS, "camera": CAMERA_MOVES}

# Pictures are brought to about this many pixels, both sides to multiples of SIDE_STEP.
AREA, SIDE_STEP = 64 * 64, 16
# Of 16 frames a second every third is looked at, together with its change since the frame before.
FRAME_STEP = 3
# A clip is read from each of so many first frames on, and mirrored: what is told is the mean
STARTS = 2
# What is there covers so many cells of a picture on average; a second thing, so much of what the first covers
LEAST_CELLS, LEAST_SHARE = 0.5, 0.08
# More cells of a thing than this say no more about it
MOST_CELLS = 4.0
# How much more a cell of what acts counts than any other
ATTENTION = 4.0

Looks = Float[Tensor, "n looks rows columns"]
Cover = Float[Tensor, "n 1 rows columns"]


class Parser:
    """A trained network, ready to read clips: `load_parser().read(frames)`."""

    def __init__(self, network: ParserNet):
        self.network = network

    @torch.inference_mode()
    def read(self, frames: Frames) -> Reading:
        """Read a clip at 16 frames a second, of any size and of at least one frame."""
        clips = views(frames)
        motion = together(self.network.watch(smaller(clips), clips[:, :, 1::2]))
        seen = rearrange(clips[:, :, 1::2], "b c t h w -> (b t) c h w")
        looks = both_ways(self.network.find(seen).softmax(1))
        pictures, acting = seen[: len(looks)], attention(motion)
        words, confidences = happening(motion, possible(looks))
        of_animals = words["event"] in MOTIONS

        colours = found_colours(looks, acting, always=not of_animals)
        things: list[Thing] = []
        for number, colour in enumerate(colours):
            shape, sure = likeliest(
                self._closer(pictures, cover_of(looks, alike(colour, colours[:number]))).shape.mean(0), SHAPES
            )
            things.append(Thing(colour, shape))
            confidences.setdefault("shape", sure)
            confidences.setdefault("colour", share_of(looks, colour, COLOURS))

        kinds: list[str] = []
        if of_animals or amount(looks, ANIMALS) >= LEAST_CELLS:
            close = self._closer(pictures, cover_of(looks, ANIMALS))
            kind, confidences["animal"] = likeliest(close.animal.mean(0), ANIMALS)
            kinds.append(kind)
        return Reading(tuple(things), tuple(kinds), **words, confidences=confidences)

    def _closer(self, pictures: Float[Tensor, "n 3 h w"], cover: Cover) -> Close:
        """Say what is covered, as it is and mirrored, from pictures in which enough is; more counts more."""
        cells = cover.sum((1, 2, 3))
        weight = torch.where(cells >= 0.3 * cells.quantile(0.8), cells.clamp(max=MOST_CELLS), 0.0) + (
            cells.max() == 0
        )
        mirrored = [torch.cat([each, each.flip(3)]) for each in (pictures, cover)]
        look = self.network.look(*mirrored).unflatten(0, (2, -1))
        return self.network.tell(look, weight.expand(2, -1))


def views(frames: Frames) -> Float[Tensor, "b 3 twice height width"]:
    """Return a clip from each of its first frames on, then the mirror images of all these."""
    numbers = [pair_numbers(len(frames), start) for start in range(STARTS)]
    shortest = min(map(len, numbers))
    clips = torch.stack([fitted(frames[each[:shortest]]) for each in numbers])
    return torch.cat([clips, clips.flip(4)])


def both_ways(maps: Float[Tensor, "n maps h w"]) -> Float[Tensor, "m maps h w"]:
    """Average maps of pictures with those of their mirror images, which are the second half."""
    plain, mirrored = maps.chunk(2)
    return (plain + mirrored.flip(3)) / 2


def together(motion: Motion) -> Motion:
    """Average what was read in all views of a clip; masks stay apart, but for mirror images."""
    plain, mirrored = motion.direction.chunk(2)
    direction = torch.cat([plain, mirrored[:, [DIRECTIONS.index(MIRRORED[word]) for word in DIRECTIONS]]])
    event, direction, camera = (
        each.mean(0, keepdim=True) for each in (motion.event, direction, motion.camera)
    )
    return Motion(event, direction, camera, both_ways(motion.mask.sigmoid()))


def likeliest(logits: Float[Tensor, "words"], words: tuple[str, ...]) -> tuple[str, float]:
    """Return the likeliest word and its chance."""
    chances = logits.softmax(0)
    best = int(chances.argmax())
    return words[best], round(float(chances[best]), 4)


def possible(looks: Looks) -> Float[Tensor, "events"]:
    """Return 1 for every event that what is seen can do, else 0: without an animal there is no gallop."""
    animals, objects = amount(looks, ANIMALS), amount(looks, COLOURS)
    least = min(LEAST_CELLS, max(animals, objects))
    return torch.tensor([float((animals if word in MOTIONS else objects) >= least) for word in ACTIONS])


def happening(motion: Motion, events: Float[Tensor, "events"]) -> tuple[dict[str, str], dict[str, float]]:
    """Return the words for event (one that `events` has), direction and camera, and their chances."""
    logits = {atom: getattr(motion, atom)[0] for atom in VOCABULARY}
    logits["event"] = logits["event"] + events.log()
    best = {atom: likeliest(logits[atom], VOCABULARY[atom]) for atom in VOCABULARY}
    return {atom: word for atom, (word, _) in best.items()}, {atom: sure for atom, (_, sure) in best.items()}


def attention(motion: Motion) -> Cover:
    """Return how much every cell of every picture counts: more where the hero of the event is."""
    mask = rearrange(motion.mask, "b t h w -> (b t) 1 h w")
    return 1 + ATTENTION * F.interpolate(mask, scale_factor=2.0)


def found_colours(looks: Looks, acting: Cover, *, always: bool) -> list[str]:
    """Return the colours of up to two objects, the hero's first; with `always`, at least one."""
    first = max(COLOURS, key=lambda word: amount(looks, (word,), acting))
    others = [word for word in COLOURS if contrast(word, first)]
    second = max(others, key=lambda word: amount(looks, (word,), acting))
    cells = [amount(looks, alike(first)), amount(looks, alike(second, [first]))]
    least = max(LEAST_CELLS, LEAST_SHARE * cells[0])
    seen = [word for word, each in zip((first, second), cells, strict=True) if each >= least]
    return seen or ([first] if always else [])


def alike(colour: str, taken: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the colours that one object may be taken for: its own and similar ones, but for `taken`."""
    similar = (word for word in COLOURS if not contrast(word, colour))
    return tuple(word for word in similar if all(contrast(word, other) for other in taken))


def cover_of(looks: Looks, words: Sequence[str]) -> Cover:
    """Return where any of `words` is seen, doubtful places counting little."""
    numbers = [LOOKS.index(word) for word in words]
    return sharpened(looks[:, numbers].sum(1, keepdim=True))


def amount(looks: Looks, words: Sequence[str], weight: Cover | float = 1.0) -> float:
    """Return how many cells of a picture show `words` on average."""
    return float((cover_of(looks, words) * weight).sum() / len(looks))


def share_of(looks: Looks, word: str, words: Sequence[str]) -> float:
    """Return how much of what is taken for one of `words` is taken for this one."""
    return round(amount(looks, (word,)) / max(1e-6, sum(amount(looks, (each,)) for each in words)), 4)


def pair_numbers(frames: int, start: int = 0) -> list[int]:
    """Return which frames of a clip are looked at: pairs of neighbours, one in every `FRAME_STEP` frames."""
    seconds = range(min(start + 1, frames - 1), frames, FRAME_STEP)
    return [max(0, second - before) for second in seconds for before in (1, 0)]


def fitted(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "3 t height width"]:
    """Return frames as a video in [-1, 1], at the size that the network reads."""
    height, width = frames.shape[1:3]
    scale = (AREA / (height * width)) ** 0.5
    size = [max(1, round(side * scale / SIDE_STEP)) * SIDE_STEP for side in (height, width)]
    pictures = rearrange(torch.from_numpy(frames).float(), "t h w c -> t c h w") / 127.5 - 1
    if size != [height, width]:
        pictures = F.interpolate(pictures, size=size, mode="bilinear", antialias=True)
    return rearrange(pictures, "t c h w -> c t h w")


def load_parser(path: Path = PARSER_WEIGHTS) -> Parser:
    """Load a parser on the CPU. Raises InputError when its file is missing, damaged or something else."""
    network = load_model(path, KIND, ParserConfig, ParserNet)
    return Parser(network.float().eval())
