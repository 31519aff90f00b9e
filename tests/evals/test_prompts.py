import gzip
import re
from collections import Counter
from dataclasses import replace

import pytest

from unstatic.core.errors import InputError
from unstatic.evals import prompts as module
from unstatic.evals.physics import LAWS
from unstatic.evals.prompts import MINUTES, PHYSICS, SUITES, Prompt, Suite, load_suite, save_suite
from unstatic.world.casting import ACTORS
from unstatic.world.held_out import held_out
from unstatic.world.vocabulary import (
    ANIMAL_WORDS,
    CAMERA_VERBS,
    COLOUR_WORDS,
    DIRECTION_WORDS,
    LEAN_WORDS,
    SHAPE_WORDS,
)

# A suite may never change: what a model scored last year is compared with what it scores now.
FINGERPRINTS = {
    "first-light": "d23f795acc2e7604",
    "objects": "2e11cad4c11d1dae",
    "animals": "742656017045b302",
    "pairs": "a076ea9c3ded83f8",
    "cameras": "1ee5760ccd48f559",
    "held-out": "f7aba3685972808c",
    "held-out-words": "2f333b3dd4e390b4",
    "minutes": "19eeede8acd4b2a9",
    "physics": "257c57f64de7e9cd",
}
IN_DISTRIBUTION = [name for name in SUITES if not name.startswith("held-out")]


def every_prompt() -> list[Prompt]:
    return [prompt for name in (*SUITES, MINUTES, PHYSICS) for prompt in load_suite(name).prompts]


@pytest.mark.parametrize("name", [*SUITES, MINUTES, PHYSICS])
def test_suites_never_change(name: str) -> None:
    assert load_suite(name).fingerprint == FINGERPRINTS[name]


def test_there_are_two_hundred_prompts_for_every_atom() -> None:
    asked = Counter(
        atom for name in IN_DISTRIBUTION for prompt in load_suite(name).prompts for atom in prompt.asked
    )
    for atom in ("colour", "shape", "event", "animal", "motion", "binding", "camera"):
        assert asked[atom] >= 200, atom


def test_no_prompt_shares_its_scene_with_training_or_with_another() -> None:
    seeds = [prompt.spec.seed for prompt in every_prompt()]
    assert min(seeds) >= 900_000_000
    assert len(set(seeds)) == len(seeds)


def test_minutes_are_minutes_of_one_hero_each() -> None:
    prompts = load_suite(MINUTES).prompts
    assert {prompt.spec.frames / prompt.spec.fps for prompt in prompts} == {60}
    assert all(set(prompt.asked) in ({"animal"}, {"colour", "shape"}) for prompt in prompts)
    assert not any(held_out(prompt.spec) for prompt in prompts)


def test_only_held_out_prompts_show_what_training_never_does() -> None:
    assert all(held_out(prompt.spec) for prompt in load_suite("held-out").prompts)
    others = (*IN_DISTRIBUTION, "held-out-words")
    assert not any(held_out(prompt.spec) for name in others for prompt in load_suite(name).prompts)


def test_held_out_words_say_all_that_is_asked_in_words_that_training_never_has() -> None:
    for prompt in load_suite("held-out-words").prompts:
        text, asked = prompt.text.lower(), prompt.asked
        tables = {"shape": SHAPE_WORDS, "colour": COLOUR_WORDS, "animal": ANIMAL_WORDS}
        for atom, table in tables.items():
            if atom in asked:
                block = SHAPE_WORDS["block"].held_out if asked[atom] == "cube" else ()
                assert says(text, table[asked[atom]].held_out + block), prompt


def test_answers_come_up_evenly() -> None:
    objects, animals = load_suite("objects").prompts, load_suite("animals").prompts
    for prompts, atom, factor in (
        (objects, "event", 1.0),
        (objects, "shape", 1.1),
        (objects, "colour", 1.2),
        (animals, "animal", 1.5),
        (animals, "motion", 1.1),
    ):
        counts = Counter(prompt.asked[atom] for prompt in prompts)
        assert max(counts.values()) <= factor * min(counts.values()) + 1, (atom, counts)


def test_prompts_say_what_is_asked() -> None:
    unseen = load_suite("held-out-words").prompts
    for prompt in every_prompt():
        if prompt.atoms[0] in LAWS or prompt in unseen:
            continue
        text, asked = prompt.text.lower(), prompt.asked
        if "shape" in asked:
            block = SHAPE_WORDS["block"].seen if asked["shape"] == "cube" else ()
            assert says(text, SHAPE_WORDS[asked["shape"]].seen + block), prompt
        if "colour" in asked:
            assert says(text, COLOUR_WORDS[asked["colour"]].seen), prompt
        if "animal" in asked:
            assert says(text, ANIMAL_WORDS[asked["animal"]].seen), prompt
        if "direction" in asked:
            ways = DIRECTION_WORDS[asked["direction"]].seen + LEAN_WORDS[asked["direction"]].seen
            assert says(text, ways), prompt
        for colour, shape in asked.get("binding", ()):
            block = SHAPE_WORDS["block"].seen if shape == "cube" else ()
            nouns = "|".join(SHAPE_WORDS[shape].seen + block)
            # The colour belongs to its shape: nothing but a material stands between them
            words = rf"\b({'|'.join(COLOUR_WORDS[colour].seen)})( [\w-]+){{0,2}} ({nouns})\b"
            assert re.search(words, text), prompt


def test_the_cameras_suite_says_how_the_camera_moves() -> None:
    for prompt in load_suite("cameras").prompts:
        camera = prompt.spec.camera
        key = f"{camera.kind} {camera.sense}" if camera.kind in ("dolly", "zoom", "rise") else camera.kind
        forms = [form.split(" {")[0] for verb in CAMERA_VERBS[key].seen for form in verb.split("|")]
        said = prompt.text.lower().partition("camera")[2]
        assert any(form in said for form in forms), prompt.text


def says(text: str, words: tuple[str, ...]) -> bool:
    return any(re.search(rf"\b{re.escape(word)}\b", text) for word in words)


def test_scenes_are_those_of_small_clips() -> None:
    for prompt in [each for name in SUITES for each in load_suite(name).prompts]:
        spec = prompt.spec
        assert (spec.width, spec.height, spec.frames, spec.fps) == (64, 64, 65, 16)
        if "shape" in prompt.asked:
            assert prompt.asked["shape"] in ACTORS[spec.event]


def test_another_word_gives_another_fingerprint() -> None:
    twenty = load_suite("objects").first(20)
    first, *rest = twenty.prompts
    changed = replace(first, text=first.text + " slowly")
    assert Suite(twenty.name, (changed, *rest)).fingerprint != twenty.fingerprint


def test_asking_for_less_gives_another_fingerprint() -> None:
    twenty = load_suite("animals").first(20)
    first, *rest = twenty.prompts
    changed = replace(first, atoms=first.atoms[:1])
    assert Suite(twenty.name, (changed, *rest)).fingerprint != twenty.fingerprint


def test_what_is_saved_is_read_again(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = load_suite("animals").first(3)
    monkeypatch.setattr(module, "SUITES_FOLDER", tmp_path)
    path = save_suite(suite, tmp_path)
    assert len(gzip.decompress(path.read_bytes()).splitlines()) == 3
    load_afresh = load_suite.__wrapped__  # around its cache
    assert load_afresh("animals") == suite


def test_an_unknown_suite_is_named() -> None:
    with pytest.raises(InputError, match=r"'poems'.*first-light"):
        load_suite("poems")
