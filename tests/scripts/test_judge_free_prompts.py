import json
from pathlib import Path

import judge_free_prompts as judging
import numpy as np
import pytest
from PIL import Image

from unstatic.core.errors import InputError
from unstatic.generate.native import load_native
from unstatic.models.manifest import open_model


def test_every_clip_has_its_prompt_among_four_in_any_place() -> None:
    asked = judging.questions(judging.PROMPTS)
    assert len(asked) == 30
    for prompt, question in zip(judging.PROMPTS, asked, strict=True):
        assert len(set(question.options)) == 4
        assert question.options["ABCD".index(question.right)] == prompt
    assert {question.right for question in asked} == set("ABCD")
    assert asked == judging.questions(judging.PROMPTS)


def test_a_majority_decides_and_the_sheet_shows_all(tmp_path: Path) -> None:
    clips = [np.full((16, 32, 32, 3), number, np.uint8) for number in range(len(judging.PROMPTS))]
    judging.write_sheets(clips, judging.PROMPTS, tmp_path)
    assert len(list(tmp_path.glob("sheet-*.png"))) == 5
    seen = json.loads((tmp_path / "questions.json").read_text(encoding="utf-8"))
    assert list(seen) == [str(number) for number in range(1, 31)]

    asked = judging.questions(judging.PROMPTS)
    right = {str(n): each.right.lower() for n, each in enumerate(asked, 1)}
    wrong = {number: "A" if letter != "a" else "B" for number, letter in right.items()}
    files = []
    for name, answers in (
        ("one", right),
        ("two", {**wrong, "3": right["3"], "4": right["4"]}),
        ("three", {**wrong, "4": right["4"]}),
    ):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(answers), encoding="utf-8")
    assert judging.score(tmp_path, files).startswith("2 of 30 free prompts right, judged blind by 3")
    with Image.open(tmp_path / "free-prompts.jpg") as sheet:
        assert sheet.width > 400


def test_an_answer_that_is_none_is_named() -> None:
    with pytest.raises(InputError, match="clip 2 has answers"):
        judging.votes([{"1": "A", "2": "E"}], judging.PROMPTS)
    for answers in ({}, {"1": "AB"}, {"1": ""}, {"1": 3}):
        with pytest.raises(InputError, match="clip 1 has answers"):
            judging.votes([answers], judging.PROMPTS)


def test_a_film_is_what_a_newcomer_would_get(tiny_model: Path) -> None:
    frames = judging.film(load_native(open_model(tiny_model), device="cpu"), "shiny gold ball")
    assert frames.shape == (64, judging.SIDE, judging.SIDE, 3)
