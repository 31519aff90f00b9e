import os
import platform
import subprocess
import sys
from collections import Counter

import pytest

from unstatic.evals.prompts import FIRST_SEED, SOLO_EVENTS, first_light
from unstatic.world.casting import ACTORS
from unstatic.world.held_out import held_out
from unstatic.world.vocabulary import COLOUR_WORDS, DIRECTION_WORDS, LEAN_WORDS, SHAPE_WORDS

# The suite may never change: what a model scored last year is compared with what it scores now.
FIRST_TWENTY = "b9627bb8b5fd864b"
ALL_TWO_HUNDRED = "6fa180e6a6f54871"


@pytest.fixture(scope="module")
def twenty():
    return first_light(20)


def test_the_suite_never_changes(twenty):
    assert twenty.fingerprint == FIRST_TWENTY


@pytest.mark.slow
def test_the_whole_suite_never_changes():
    suite = first_light(200)
    assert suite.fingerprint == ALL_TWO_HUNDRED
    assert suite.prompts[:20] == first_light(20).prompts

    # Balanced as far as events allow: a shape that few events have comes up less often
    counts = {
        atom: Counter(getattr(each, atom) for each in suite.prompts) for atom in ("event", "shape", "colour")
    }
    assert set(counts["event"].values()) == {20}
    assert max(counts["shape"].values()) - min(counts["shape"].values()) <= 1
    assert max(counts["colour"].values()) - min(counts["colour"].values()) <= 1


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these are x86-64 processors")
@pytest.mark.parametrize("core", ["Haswell", "SkylakeX"])
def test_the_suite_is_the_same_on_every_processor(core: str):
    """Numpy's products differ in the last digit between these two, and a bounce amplifies it."""
    code = "from unstatic.evals.prompts import first_light; print(first_light(10).fingerprint)"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OPENBLAS_CORETYPE": core},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.strip() == first_light(10).fingerprint


def test_another_word_gives_another_fingerprint(twenty):
    first, *rest = twenty.prompts
    changed = type(first)(first.text + " slowly", first.spec)
    assert type(twenty)(twenty.name, (changed, *rest)).fingerprint != twenty.fingerprint


def test_prompts_say_what_is_asked(twenty):
    for prompt in twenty.prompts:
        text = prompt.text.lower()
        shapes = SHAPE_WORDS[prompt.shape].seen + (
            SHAPE_WORDS["block"].seen if prompt.shape == "cube" else ()
        )
        assert any(word in text for word in shapes), prompt
        assert any(word in text for word in COLOUR_WORDS[prompt.colour].seen), prompt
        if prompt.direction:
            ways = DIRECTION_WORDS[prompt.direction].seen + LEAN_WORDS[prompt.direction].seen
            assert any(word in text for word in ways), prompt


def test_scenes_are_single_objects_that_no_training_has_seen(twenty):
    for number, prompt in enumerate(twenty.prompts):
        spec = prompt.spec
        assert spec.seed == FIRST_SEED + number > 10_000_000
        assert (len(spec.objects), spec.camera.kind) == (1, "still")
        assert (spec.width, spec.height, spec.frames) == (64, 64, 65)
        assert not held_out(spec)
        assert prompt.shape in ACTORS[prompt.event]
    assert [prompt.event for prompt in twenty.prompts] == 2 * list(SOLO_EVENTS)
