"""Tells a prompt that is far from everything the world has: "two people argue in a cafe".

The familiarity of a prompt is the share of its words about the picture that are understood, times 0.4 if it
names no thing of the world; below 0.5 it is foreign. Measured on the lists of tests/generate/prompts, but
for the second and the last row, whose lists were not kept:

    400 prompts of VBench about other things                       100.0% foreign
    400 more of them, looked at while the words were collected      98.8%
    100 prompts of newcomers and 400 captions                        0.0%
    138 prompts of VBench with a thing of the world among others    29.0%

The area under the ROC curve is 0.999. The likeness of MiniLM embeddings to twelve captions separates the same
prompts worse (0.92), so it has no part in it.
"""

from unstatic.generate.prompts.scene import Reading
from unstatic.world.spec import ANIMALS, SHAPES

LEAST_FAMILIAR = 0.5
WITHOUT_A_THING = 0.4


def familiarity(reading: Reading) -> float:
    """Return how much of a prompt belongs to the world: from 0, nothing, to 1, everything."""
    share = reading.understood / max(reading.content, 1)
    return share if reading.scene.things else share * WITHOUT_A_THING


def is_foreign(reading: Reading, *, animals: bool = True) -> bool:
    """Return whether a model of the world, or of its objects without `animals`, can only fail a prompt."""
    asks_for_animals = any(each.group == "animal" for each in reading.scene.things)
    return familiarity(reading) < LEAST_FAMILIAR or (asks_for_animals and not animals)


def known(*, animals: bool) -> str:
    """List the things that such a model knows."""
    return "; ".join(", ".join(words) for words in (SHAPES, ANIMALS) if animals or words is SHAPES)
