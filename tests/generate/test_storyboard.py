"""Storyboards: cards become footage, cues and a length, and every mistake names its card."""

import json
from pathlib import Path

import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.diffusion.condition import Cue
from unstatic.generate.request import Request, plan
from unstatic.generate.storyboard import Card, Storyboard, on_board, read_storyboard
from unstatic.media.write import write_picture, write_video
from unstatic.models.manifest import Manifest, read_manifest


@pytest.fixture
def manifest(tiny_model: Path) -> Manifest:
    return read_manifest(tiny_model)


def test_yaml_and_json_say_the_same_and_files_lie_beside_them(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("cards:\n  - {at: 0, prompt: a ball}\n  - {at: 2.5, image: b.png}\n")
    cards = [{"at": 0, "prompt": "a ball"}, {"at": 2.5, "image": "b.png"}]
    (tmp_path / "a.json").write_text(json.dumps({"cards": cards}))
    expected = Storyboard(cards=(Card(at=0.0, prompt="a ball"), Card(at=2.5, image=tmp_path / "b.png")))
    assert read_storyboard(tmp_path / "a.yaml") == read_storyboard(tmp_path / "a.json") == expected


def test_cards_become_cues_pictures_and_videos_at_their_times(
    tmp_path: Path, make_frames, manifest: Manifest
):
    write_picture(tmp_path / "b.png", make_frames(1, 64, 64)[0])
    write_video(tmp_path / "c.mp4", make_frames(16, 32, 32), fps=16)
    cards = (
        Card(at=0.0, prompt="a ball"),
        Card(at=1.0, prompt="a cube", image=tmp_path / "b.png"),
        Card(at=3.0, video=tmp_path / "c.mp4"),
    )
    asked, warnings = on_board(Request(prompt=""), Storyboard(cards=cards), manifest)
    assert (asked.prompt, asked.cues, warnings) == ("a ball", (Cue(at=1.0, prompt="a cube"),), ())
    places = sorted((each.first, len(each.frames)) for each in asked.footage)
    assert places == [(17, 4), (49, 16)], "pictures and videos begin with a latent frame"
    planned = plan(asked, manifest)
    assert (planned.frames, planned.skip) == (65, 0), "it ends with its last video"
    assert planned.texts == ((0, "a ball"), (16, "a cube"))


def test_a_picture_at_the_beginning_is_the_first_frame(tmp_path: Path, make_frames, manifest: Manifest):
    picture = make_frames(1, 48, 32)[0]
    write_picture(tmp_path / "b.png", picture)
    board = Storyboard(cards=(Card(at=0.0, prompt="a ball", image=tmp_path / "b.png"),), seconds=2.0)
    asked, _ = on_board(Request(prompt="other"), board, manifest)
    (footage,) = asked.footage
    assert np.array_equal(footage.frames, picture[None])
    assert (str(asked.size), asked.seconds, asked.prompt) == ("96x64", 2.0, "a ball")


def test_the_prompt_of_the_request_counts_until_the_first_card(manifest: Manifest):
    asked, _ = on_board(
        Request(prompt="a ball"), Storyboard(cards=(Card(at=1.0, prompt="a cube"),)), manifest
    )
    assert (asked.prompt, asked.seconds) == ("a ball", 5.0)
    nothing, _ = on_board(Request(prompt=""), Storyboard(cards=(Card(at=1.0, prompt="a cube"),)), manifest)
    with pytest.raises(InputError, match="the prompt is empty"):
        plan(nothing, manifest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML or JSON"),
        ("- 1", "must have 'cards', a list"),
        ("cards: []", "it has no cards"),
        ("cards: 3", "cards=3 is not"),
        ("0: a ball", "unknown setting '0'"),
        ("cards: [{at: 0, prompt: 2024-13-45}]", "is not YAML or JSON"),
        ("card: []", "unknown setting 'card'; did you mean 'cards'"),
        ("cards: [{at: 0}]", "card 1 is empty"),
        ("cards: [{prompt: x}]", "missing setting: cards.at"),
        ("cards: [{at: soon, prompt: x}]", "cards.at='soon' is not a finite number"),
        ("cards: [{at: -1, prompt: x}]", "card 1 is at -1 s: times begin at 0"),
        ("cards: [{at: 0, image: x, video: y}]", "card 1 has an image and a video"),
        ("cards: [{at: 2, prompt: x}, {at: 1, prompt: y}]", "card 2 is at 1 s, card 1 before it at 2 s"),
        ("cards: [{at: 2, prompt: x}, {at: 2, prompt: y}]", "put them in order"),
    ],
)
def test_mistakes_name_the_card_and_the_fix(tmp_path: Path, text: str, message: str):
    (tmp_path / "board.yaml").write_text(text)
    with pytest.raises(InputError, match=r"the storyboard .*board\.yaml") as caught:
        read_storyboard(tmp_path / "board.yaml")
    assert message in str(caught.value)


def test_files_that_are_not_there_are_named(tmp_path: Path, manifest: Manifest):
    with pytest.raises(InputError, match=r"cannot read the storyboard .*none\.yaml: No such file"):
        read_storyboard(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"none\.png"):
        on_board(
            Request(prompt="x"), Storyboard(cards=(Card(at=0.0, image=tmp_path / "none.png"),)), manifest
        )


def test_videos_that_overlap_are_refused(tmp_path: Path, make_frames, manifest: Manifest):
    write_video(tmp_path / "c.mp4", make_frames(32, 32, 32), fps=16)
    cards = (Card(at=0.0, video=tmp_path / "c.mp4"), Card(at=1.0, video=tmp_path / "c.mp4"))
    asked, _ = on_board(Request(prompt="x"), Storyboard(cards=cards), manifest)
    with pytest.raises(InputError, match="footage overlaps at frame 17: move or cut one of them"):
        plan(asked, manifest)


def test_every_picture_is_seen_whatever_comes_before_it_and_how_near_the_end(
    tmp_path: Path, make_frames, manifest: Manifest
):
    write_picture(tmp_path / "b.png", make_frames(1, 32, 32)[0])
    write_video(tmp_path / "c.mp4", make_frames(32, 32, 32), fps=16)
    cards = (
        Card(at=0.0, prompt="x", video=tmp_path / "c.mp4"),
        Card(at=4.0, image=tmp_path / "b.png"),
        Card(at=5.95, image=tmp_path / "b.png"),
    )
    asked, _ = on_board(Request(prompt=""), Storyboard(cards=cards, seconds=6.0), manifest)
    placed = [(each.first, each.stop) for each in plan(asked, manifest).footage]
    assert placed == [(0, 29), (65, 69), (89, 93)]


def test_an_explicit_length_wins(manifest: Manifest):
    board = Storyboard(cards=(Card(at=0.0, prompt="a ball"),), seconds=6.0)
    assert on_board(Request(prompt="", seconds=9), board, manifest)[0].seconds == 9


def test_the_shape_is_that_of_the_first_picture_and_there_is_one_beginning(
    tmp_path: Path, make_frames, manifest: Manifest
):
    picture = make_frames(1, 48, 32)[0]
    board = Storyboard(cards=(Card(at=0.0, prompt="a ball"),))
    assert str(on_board(Request(prompt="", image=picture), board, manifest)[0].size) == "96x64"
    write_picture(tmp_path / "b.png", picture)
    board = Storyboard(cards=(Card(at=0.0, prompt="a ball", image=tmp_path / "b.png"),))
    with pytest.raises(InputError, match="leave one of them out"):
        on_board(Request(prompt="", image=picture), board, manifest)
