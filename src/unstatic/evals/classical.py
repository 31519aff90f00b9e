"""Read a clip without a network: colours, outlines, tracks and fitted motion, judged by shallow classifiers.

    segmentation   what every pixel shows (`classical_pixels`)
    things         up to two objects of colours that are told apart, and an animal: where, and cut out
    looks          what a thing is, by outline, shading and edges (`classical_outlines`)
    motion         what happens, by tracks and motion that is fitted (`classical_motion`)

The second of two independent parsers: it shares no code and no weights with the first (`parser`).
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.evals import classical_motion as motion
from unstatic.evals import classical_outlines as outlines
from unstatic.evals.classical_outlines import Cover
from unstatic.evals.classical_pixels import PIXELS, Chances, Moments, Video, chances_of, moments
from unstatic.evals.readings import ACTIONS, CAMERA_MOVES, DIRECTIONS, Frames, Reading, Thing
from unstatic.evals.shallow import Shallow
from unstatic.world.mix import contrast
from unstatic.world.spec import ANIMALS, COLOURS, MOTIONS, SHAPES

CLASSICAL_TABLES = Path(__file__).parent.parent / "weights" / "parser" / "classical.safetensors"
VOCABULARY = {
    "pixel": PIXELS,
    "context": PIXELS,
    "colour": COLOURS,
    "shape": SHAPES,
    "animal": ANIMALS,
    "shape_gist": SHAPES,
    "animal_gist": ANIMALS,
    "event": ACTIONS,
    "direction": DIRECTIONS,
    "camera": CAMERA_MOVES,
}
# What is there covers so many pixels on average; a second object, so much of what the first covers
LEAST_PIXELS, LEAST_SHARE = 12.0, 0.15
FIRST_PIXEL, FIRST_COLOUR = PIXELS.index("prop"), PIXELS.index(COLOURS[0])


Tables = Mapping[str, Shallow]
"""All that was fitted, by the words of VOCABULARY."""


class Seen(NamedTuple):
    """A thing that was found: where it is, how it looks, and facts about its colour."""

    cover: Cover
    boxes: outlines.Boxes
    cuts: outlines.Cuts
    looks: Float[Tensor, "t looks"]
    colours: Float[Tensor, "colour_facts"]

    @property
    def pixels(self) -> float:
        """How many pixels it covers on average."""
        return float(self.boxes.area.mean())


class Scene(NamedTuple):
    """All that was found in a clip: objects and an animal, seen or not, and facts about what happens."""

    objects: tuple[Seen, Seen]
    animal: Seen
    facts: Float[Tensor, "facts"]


class ClassicalParser:
    """Fitted tables, ready to read clips: `load_classical().read(frames)`."""

    def __init__(self, tables: Tables):
        self.tables = tables

    @torch.inference_mode()
    def read(self, frames: Frames) -> Reading:
        """Read a clip at 16 frames a second, of any size and of at least one frame."""
        pictures = moments(frames)
        scene = scene_of(pictures, chances_of(pictures.now, self.tables["pixel"], self.tables["context"]))
        confidences: dict[str, float] = {}
        words: dict[str, str] = {}
        for atom in ("event", "direction", "camera"):
            logits = self.tables[atom](scene.facts[None])
            words[atom], confidences[atom] = likeliest(logits, VOCABULARY[atom])

        of_animals = words["event"] in MOTIONS
        things: list[Thing] = []
        for each in present(scene, of_animals=of_animals):
            colour, sure = likeliest(self.tables["colour"](each.colours[None]), COLOURS)
            confidences.setdefault("colour", sure)
            shape, sure = likeliest(self._looks(each, "shape"), SHAPES)
            confidences.setdefault("shape", sure)
            things.append(Thing(colour, shape))
        kinds: list[str] = []
        if of_animals or scene.animal.pixels >= 4 * LEAST_PIXELS:
            kind, confidences["animal"] = likeliest(self._looks(scene.animal, "animal"), ANIMALS)
            kinds.append(kind)
        return Reading(tuple(things), tuple(kinds), **words, confidences=confidences)

    def _looks(self, seen: Seen, atom: str) -> Float[Tensor, "1 words"]:
        """Return logits of what a thing is, by its looks at single moments and by all of them together."""
        together = self.tables[f"{atom}_gist"](gist(seen)[None])
        return judged_looks(self.tables[atom], seen) + together.log_softmax(1)


def likeliest(logits: Float[Tensor, "n words"], words: tuple[str, ...]) -> tuple[str, float]:
    """Return the likeliest word by the mean of logits, and its chance."""
    chances = logits.mean(0).softmax(0)
    best = int(chances.argmax())
    return words[best], round(float(chances[best]), 4)


def gist(seen: Seen) -> Float[Tensor, "gist"]:
    """Return the means and the spreads of looks over the moments in which a thing is seen well."""
    weight = (quality(seen) / quality(seen).sum())[:, None]
    mean = (weight * seen.looks).sum(0)
    return torch.cat([mean, (weight * (seen.looks - mean) ** 2).sum(0).sqrt()])


def judged_looks(classifier: Shallow, seen: Seen) -> Float[Tensor, "1 words"]:
    """Return the logits of what a thing is, from the moments in which it is seen well."""
    logits = classifier(seen.looks).log_softmax(1)
    weight = quality(seen)
    return (torch.einsum("t,tw->w", weight, logits) / weight.sum())[None]


def quality(seen: Seen) -> Float[Tensor, "t"]:
    """Return how well a thing is seen at each moment: as large as usual, and clear of the border."""
    area, (height, width) = seen.boxes.area, seen.cover.shape[1:]
    usual = area.quantile(0.7) + 1e-3
    inside = (seen.boxes.left > 0.7) & (seen.boxes.right < width - 1.7)
    inside &= (seen.boxes.top > 0.7) & (seen.boxes.bottom < height - 1.7)
    return (area / usual).clamp(max=1.0) ** 2 * torch.where(inside, 1.0, 0.2) + 1e-3


def present(scene: Scene, *, of_animals: bool) -> list[Seen]:
    """Return the objects that are there, what moves first; at least one unless an animal acts."""
    first, second = scene.objects
    least = max(LEAST_PIXELS, LEAST_SHARE * first.pixels)
    there = [each for each in scene.objects if each.pixels >= least]
    if len(there) == 2 and restlessness(second) > restlessness(first):
        there.reverse()
    return there or ([] if of_animals else [first])


def restlessness(seen: Seen) -> float:
    """Return how far a thing moves from moment to moment, in pixels."""
    return float(torch.stack([seen.boxes.x, seen.boxes.y]).diff(dim=1).abs().mean())


# ------------------------------------------------------------------------------------------------- finding


def scene_of(pictures: Moments, chances: Chances) -> Scene:
    """Find the things of a clip and describe what happens."""
    colours = chances[:, FIRST_COLOUR : FIRST_COLOUR + len(COLOURS)]
    mass = colours.square().sum((0, 2, 3))
    first = COLOURS[int(mass.argmax())]
    others = torch.tensor([contrast(colour, first) for colour in COLOURS])
    second = COLOURS[int((mass * others).argmax())]
    objects = (
        seen_of(pictures, colours, colour_cover(colours, first)),
        seen_of(pictures, colours, colour_cover(colours * others[:, None, None], second)),
    )
    animal = seen_of(pictures, colours, chances[:, -1])
    background = chances[:, 0]
    facts = clip_facts(pictures, objects, animal, chances[:, FIRST_PIXEL], background)
    return Scene(objects, animal, facts)


def colour_cover(colours: Float[Tensor, "t colours h w"], colour: str) -> Cover:
    """Return where a colour is, or one that it is easily taken for."""
    alike = [number for number, other in enumerate(COLOURS) if not contrast(colour, other)]
    return colours[:, alike].sum(1)


def seen_of(pictures: Moments, colours: Float[Tensor, "t colours h w"], cover: Cover) -> Seen:
    """Describe one thing by its cover."""
    cover = outlines.tidied(cover)
    boxes = outlines.boxes_of(cover)
    cuts = outlines.cut_out(pictures.now, cover, boxes)
    looks = outlines.looks_of(cuts, boxes, (cover.shape[1], cover.shape[2]))
    return Seen(cover, boxes, cuts, looks, colour_facts(pictures.now, colours, cover))


def colour_facts(
    video: Video, colours: Float[Tensor, "t colours h w"], cover: Cover
) -> Float[Tensor, "colour_facts"]:
    """Describe a thing's colour: mean, spread and lights, what its pixels say, and the light around it."""
    weight = cover / (cover.sum() + 1e-3)
    mean = torch.einsum("thw,tchw->c", weight, video)
    spread = torch.einsum("thw,tchw->c", weight, (video - mean[:, None, None]) ** 2).sqrt()
    light = cover * video.mean(1) ** 4
    lights = torch.einsum("thw,tchw->c", light / (light.sum() + 1e-6), video)
    said = torch.einsum("thw,tchw->c", weight, colours)
    edge = max(1, video.shape[2] // 8)
    around = [part.mean((0, 2, 3)) for part in (video[:, :, :edge], video[:, :, -edge:], video)]
    return torch.cat([mean, spread, lights, said, *around])


def clip_facts(
    pictures: Moments,
    objects: tuple[Seen, Seen],
    animal: Seen,
    props: Cover,
    background: Cover,
) -> Float[Tensor, "facts"]:
    """Describe what happens: the way and the inner life of what acts, the other things, and the camera."""
    size = (props.shape[1], props.shape[2])
    first, second = sorted(objects, key=acting, reverse=True)
    actor, other = (animal, first) if acting(animal) > acting(first) else (first, second)
    before = outlines.cut_out(pictures.before, actor.cover, actor.boxes)
    own = [
        motion.track_signals(actor.boxes, size),
        motion.inner_signals(before, actor.cuts),
        outlines.moments_of(actor.cuts.cover)[:, 4:6],
        motion.track_signals(outlines.boxes_of(props), size)[:, [0, 1, 6]],
        motion.shadow_signals(pictures.now.mean(1), background, actor.boxes),
    ]
    inner = outlines.raster(actor.cuts.cover, 4)
    others = [motion.track_signals(each.boxes, size) for each in (other, animal)]
    camera = motion.camera_signals(pictures.before.mean(1), pictures.now.mean(1), background)
    return torch.cat(
        [
            motion.summary(torch.cat(own, dim=1)),
            motion.brief(inner),
            motion.waves(inner),
            *(motion.brief(each) for each in others),
            motion.brief(camera),
            motion.lasting_change(pictures.now.mean(1), background),
        ]
    )


def acting(seen: Seen) -> float:
    """Return how much a thing draws attention: it must be large, and what moves seems larger."""
    return seen.pixels**0.5 * (1 + restlessness(seen))


# ------------------------------------------------------------------------------------------------- storing


def load_classical(path: Path = CLASSICAL_TABLES) -> ClassicalParser:
    """Load the fitted parser. Raises InputError when its file is missing."""
    if not path.is_file():
        raise InputError(f"no tables at {path}: fit them with scripts/fit_classical.py")
    parts = load_file(path)

    def table(name: str) -> Shallow:
        return Shallow(**{part.name: parts[f"{name}.{part.name}"].float() for part in fields(Shallow)})

    return ClassicalParser({name: table(name) for name in VOCABULARY})
