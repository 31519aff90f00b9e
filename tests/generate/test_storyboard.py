"""Storyboards: cards become footage, cues and a length, and every mistake names its card."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.diffusion.condition import Cue
from unstatic.generate.request import Request, plan
from unstatic.generate.storyboard import IN_REQUEST, Card, Storyboard, on_board, read_storyboard
from unstatic.media.frames import fit
from unstatic.media.read import read_video
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


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("8", 8), ("0:08", 8), ("00:08", 8), ("1:30", 90), ("01:30", 90), ("0:02.5", 2.5), ('"1:30"', 90)],
)
def test_times_are_seconds_or_minutes_whatever_yaml_takes_them_for(
    written: str, seconds: float, tmp_path: Path
):
    (tmp_path / "a.yaml").write_text(f"cards:\n- at: 0:00\n  prompt: a\n- at: {written}\n  prompt: b\n")
    assert [card.at for card in read_storyboard(tmp_path / "a.yaml").cards] == [0, seconds]
    named = {"seconds": written.strip('"'), "cards": [{"at": 0, "prompt": "0:03"}]}
    (tmp_path / "a.json").write_text(json.dumps(named))
    board = read_storyboard(tmp_path / "a.json")
    assert (board.seconds, board.cards[0].prompt) == (seconds, "0:03"), "a prompt stays what it is"


@pytest.mark.parametrize("written", ["0:3", "0:61", "soon", "-0:03"])
def test_what_is_no_time_is_refused_by_the_card(written: str, tmp_path: Path):
    (tmp_path / "a.yaml").write_text(f"cards:\n- at: {written}\n  prompt: b\n")
    with pytest.raises(InputError, match=f"card 1: at='{written}' is no time: give seconds, like 3, or 0:03"):
        read_storyboard(tmp_path / "a.yaml")


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
    assert (asked.prompt, asked.cues, warnings) == ("a ball", (Cue(at=1.0, prompt="a cube", cut=False),), ())
    places = sorted((each.first, len(each.frames)) for each in asked.footage)
    assert places == [(17, 4), (49, 16)], "pictures and videos begin with a latent frame"
    planned = plan(asked, manifest)
    assert (planned.frames, planned.skip) == (65, 0), "it ends with its last video"
    assert planned.texts == ((0, "a ball"), (16, "a cube"))


def test_a_card_may_say_whether_a_scene_begins(tmp_path: Path, manifest: Manifest):
    (tmp_path / "a.yaml").write_text(
        "cards:\n- {at: 0, prompt: a}\n- {at: 1, prompt: b, cut: yes}\n- {at: 2, prompt: c, cut: false}\n"
    )
    asked, _ = on_board(Request(prompt=""), read_storyboard(tmp_path / "a.yaml"), manifest)
    assert [cue.cut for cue in asked.cues] == [True, False]
    assert plan(asked, manifest).cuts == {1}
    (tmp_path / "a.yaml").write_text("cards:\n- {at: 0, prompt: a}\n- {at: 1, prompt: b, cut: soon}\n")
    with pytest.raises(InputError, match=r"card 2: .*cut"):
        read_storyboard(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("cards:\n- {at: 0, prompt: a}\n- {at: 1, image: b.png, cut: true}\n")
    with pytest.raises(InputError, match="card 2 has a cut and no prompt: say what the new scene shows"):
        read_storyboard(tmp_path / "a.yaml")


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
    board = Storyboard(cards=(Card(at=0.0, prompt="a cube"),))
    asked, said = on_board(Request(prompt="a ball"), board, manifest)
    assert (asked.prompt, said) == (
        "a cube",
        ("the prompt counts for nothing: the card at 0 has one of its own",),
    )
    assert on_board(Request(prompt=""), board, manifest)[1] == ()
    with pytest.raises(InputError, match="the film begins without a prompt: put one on a card at 0"):
        on_board(Request(prompt=""), Storyboard(cards=(Card(at=1.0, prompt="a cube"),)), manifest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML or JSON"),
        ("- 1", "must have 'cards', a list"),
        ("cards: []", "it has no cards"),
        ("cards: 3", "must have 'cards', a list"),
        ("cards: {at: 0, prompt: x}", "must have 'cards', a list"),
        ("0: a ball", "unknown setting '0'"),
        ("cards: [{at: 0, prompt: 2024-13-45}]", "is not YAML or JSON"),
        ("card: []", "unknown setting 'card'; did you mean 'cards'"),
        ("cards: [{at: 0}]", "card 1 is empty"),
        ("cards: [{at: 0, prompt: x}, {prompt: x}]", "card 2: missing setting: at"),
        ("cards: [{at: soon, prompt: x}]", "card 1: at='soon' is no time: give seconds, like 3"),
        ("cards: [{at: 0, prompt: x}, {at: 1, pormpt: x}]", "card 2: unknown setting 'pormpt'; did you mean"),
        ("cards: [a ball]", "card 1 is 'a ball': give it a time, at: 0, and a prompt"),
        ("cards: [{at: 0, prompt: ' '}]", "card 1 has an empty prompt: say what to film, or leave it out"),
        ("cards: [{at: -1, prompt: x}]", "card 1 is at -1 s: times begin at 0"),
        ("cards: [{at: 0, image: x, video: y}]", "card 1 has an image and a video"),
        ("cards: [{at: 2, prompt: x}, {at: 1, prompt: y}]", "card 2 is at 1 s, card 1 before it at 2 s"),
        ("cards: [{at: 2, prompt: x}, {at: 2, prompt: y}]", "put them in order"),
        ("cards: &a [*a]", "is nested too deeply, or holds itself"),
        ("&a {cards: [{at: 0, prompt: *a}]}", "is nested too deeply, or holds itself"),
        (f"cards: [{{at: 0, prompt: x}}]\nseconds: {'9' * 400}", "seconds=inf is not a finite number"),
        (f"cards: [{{at: -{'9' * 400}, prompt: x}}]", "card 1: at=-inf is not a finite number"),
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


OVERLAP = r"card 2 \({}\) begins before card 1 \({}\) ends: {}"
LATE = r"card 2 \({} at 5 s\) comes too late, the film ends at 1 s: put it earlier or make the film longer"


@pytest.mark.parametrize(
    ("cards", "seconds", "message"),
    [
        (
            (Card(at=0.0, video=Path("c.mp4")), Card(at=1.0, video=Path("c.mp4"))),
            None,
            OVERLAP.format("c.mp4 at 1 s", "c.mp4 at 0 s, until 1.81 s", "move it to 1.82 s or cut c.mp4"),
        ),
        (
            (Card(at=1.0, image=Path("b.png")), Card(at=1.1, image=Path("b.png"))),
            None,
            OVERLAP.format("b.png at 1.1 s", "b.png at 1 s, until 1.31 s", "move it to 1.32 s"),
        ),
        (
            (Card(at=1.9, image=Path("b.png")), Card(at=2.0, image=Path("b.png"))),
            2.0,
            OVERLAP.format("b.png at 2 s", "b.png at 1.9 s, until 2 s", "leave one of them out"),
        ),
        ((Card(at=0.0), Card(at=5.0, image=Path("b.png"))), 1.0, LATE.format("b.png")),
        ((Card(at=0.0), Card(at=5.0, video=Path("c.mp4"))), 1.0, LATE.format("c.mp4")),
        ((Card(at=0.0), Card(at=5.0, prompt="a cube")), 1.0, LATE.replace("{} ", "")),
        (
            (Card(at=0.0), Card(at=1.95, video=Path("c.mp4"))),
            2.0,
            r"card 2 \(c.mp4 at 1.95 s\) comes too late",
        ),
        (
            (Card(at=0.0), Card(at=1e308, image=Path("b.png"))),
            2.0,
            r"card 2 \(b.png at 1e\+308 s\) comes too",
        ),
        (
            (Card(at=0.0), Card(at=1.0, video=Path("short.mp4"))),
            3.0,
            r"card 2 \(short.mp4 at 1 s\) lasts 0.12 s, too short to be kept: give 0.25 s or more",
        ),
        (
            (Card(at=0.0), Card(at=8.0, prompt="a cube")),
            None,
            r"card 2 \(at 8 s, until 12 s\) lasts too long, tiny makes up to 10 s: put it earlier",
        ),
        (
            (Card(at=0.0), Card(at=9.0, video=Path("c.mp4"))),
            None,
            r"card 2 \(c.mp4 at 9 s, until 11.06 s\) lasts too long",
        ),
        ((Card(at=0.0),), 0.0, "seconds is 0: a storyboard of tiny lasts two frames to 10 s"),
        (
            (Card(at=0.0, image=Path("b.png")),),
            0.05,
            "seconds is 0.05: a storyboard of tiny lasts two frames",
        ),
        ((Card(at=0.0),), 11.0, "seconds is 11: a storyboard of tiny lasts two frames to 10 s"),
        (
            (Card(at=1.0, image=Path("tiny.png")),),
            None,
            "the image of card 1 is 8x8: give one of at least 16x16",
        ),
    ],
)
def test_what_has_no_place_names_the_card_the_file_and_the_fix(
    tmp_path: Path,
    make_frames,
    manifest: Manifest,
    cards: tuple[Card, ...],
    seconds: float | None,
    message: str,
):
    for name, frames in (("b.png", make_frames(1, 32, 32)), ("tiny.png", make_frames(1, 8, 8))):
        write_picture(tmp_path / name, frames[0])
    for name, count in (("c.mp4", 32), ("short.mp4", 2)):
        write_video(tmp_path / name, make_frames(count, 32, 32), fps=16)
    found = tuple(
        replace(card, image=card.image and tmp_path / card.image, video=card.video and tmp_path / card.video)
        for card in cards
    )
    with pytest.raises(InputError, match=message):
        on_board(Request(prompt="x"), Storyboard(cards=found, seconds=seconds), manifest)


def test_a_picture_that_is_cut_is_warned_about_as_others_are(tmp_path: Path, make_frames, manifest: Manifest):
    write_picture(tmp_path / "wide.png", make_frames(1, 96, 32)[0])
    cards = (Card(at=0.0, prompt="x"), Card(at=1.0, image=tmp_path / "wide.png"))
    asked, warnings = on_board(Request(prompt="", size=Size(64, 64)), Storyboard(cards=cards), manifest)
    said = "the image of card 2 is 96x32: 67% of it, left and right, is cut away to fit 64x64"
    assert (warnings, plan(asked, manifest).warnings) == ((said,), ())
    asked, warnings = on_board(Request(prompt="", size=Size(64, 60)), Storyboard(cards=cards), manifest)
    assert len(warnings) == 1
    assert plan(asked, manifest).warnings == (), "footage has no name that a storyboard's author knows"


def test_a_video_is_cut_once_to_the_shape_of_the_film(tmp_path: Path, make_frames, manifest: Manifest):
    frames = make_frames(16, 96, 48)
    write_video(tmp_path / "wide.mp4", frames, fps=16)
    board = Storyboard(cards=(Card(at=0.0, video=tmp_path / "wide.mp4"), Card(at=2.0, prompt="a cube")))
    asked, warnings = on_board(Request(prompt="", size=Size(64, 64)), board, manifest)
    assert warnings == (f"{tmp_path}/wide.mp4 is 96x48: 50% of it is cut away to fit the shape of 32x32",)
    (footage,) = asked.footage
    once = fit(read_video(tmp_path / "wide.mp4").frames, Size(32, 32))
    assert np.array_equal(footage.frames, once)
    asked, warnings = on_board(Request(prompt=""), board, manifest)
    assert str(asked.size) == "96x64", "the film has the shape of its video"
    assert warnings == (f"{tmp_path}/wide.mp4 is 96x48: 25% of it is cut away to fit the shape of 48x32",)


def test_a_picture_at_the_end_is_the_last_frame(tmp_path: Path, make_frames, manifest: Manifest):
    write_picture(tmp_path / "b.png", make_frames(1, 32, 32)[0])
    for seconds in (2 / 16, 1.0, 17 / 16, 18 / 16):
        cards = (Card(at=0.0, prompt="x"), Card(at=seconds, image=tmp_path / "b.png"))
        asked, _ = on_board(Request(prompt=""), Storyboard(cards=cards, seconds=seconds), manifest)
        assert asked.footage[0].stop == round(seconds * 16)
        assert plan(asked, manifest).footage[0].stop >= asked.footage[0].stop


def test_there_is_one_end(tmp_path: Path, make_frames, manifest: Manifest):
    picture = make_frames(1, 32, 32)[0]
    write_picture(tmp_path / "b.png", picture)
    write_video(tmp_path / "c.mp4", make_frames(32, 32, 32), fps=16)
    for last in (Card(at=3.9, image=tmp_path / "b.png"), Card(at=2.0, video=tmp_path / "c.mp4")):
        board = Storyboard(cards=(Card(at=0.0, prompt="x"), last), seconds=4.0)
        with pytest.raises(
            InputError, match=r"a last image, and card 2 \(.* s\) is seen at the end: leave one"
        ):
            on_board(Request(prompt="", last_image=picture), board, manifest)
        earlier = replace(board, cards=(board.cards[0], replace(last, at=1.0)))
        asked, _ = on_board(Request(prompt="", last_image=picture), earlier, manifest)
        assert plan(asked, manifest).last_image is not None


def test_the_film_lasts_until_every_video_is_over(tmp_path: Path, make_frames, manifest: Manifest):
    write_video(tmp_path / "c.mp4", make_frames(128, 32, 32), fps=16)
    first, second = Card(at=0.0, video=tmp_path / "c.mp4"), Card(at=1.0, prompt="a cube")
    asked, _ = on_board(Request(prompt="x"), Storyboard(cards=(first, second)), manifest)
    assert asked.seconds == 8.0
    asked, _ = on_board(Request(prompt="x"), Storyboard(cards=(first, replace(second, at=5.0))), manifest)
    assert asked.seconds == 9.0
    late = Storyboard(cards=(Card(at=0.0, prompt="x"), replace(first, at=3.0), replace(second, at=4.0)))
    with pytest.raises(InputError, match=r"card 2 \(c.mp4 at 3 s, until 11.06 s\) lasts too long"):
        on_board(Request(prompt="x"), late, manifest)


def test_a_video_at_the_beginning_is_kept_to_its_last_frame_unless_others_follow(
    tmp_path: Path, make_frames, manifest: Manifest
):
    write_picture(tmp_path / "b.png", make_frames(1, 32, 32)[0])
    write_video(tmp_path / "c.mp4", make_frames(20, 32, 32), fps=16)
    alone = Card(at=0.0, prompt="x", video=tmp_path / "c.mp4")
    for cards, seconds, frames in (((alone,), None, 20), ((alone, Card(at=1.5, prompt="y")), 2.0, 32)):
        asked, said = on_board(Request(prompt=""), Storyboard(cards=cards, seconds=seconds), manifest)
        planned = plan(asked, manifest)
        assert (planned.frames, planned.skip, said, planned.warnings) == (frames, 1, (), ())
        assert np.array_equal(planned.footage[0].frames[1:21], read_video(tmp_path / "c.mp4").frames)
    cards = (alone, Card(at=1.5, image=tmp_path / "b.png"))
    asked, said = on_board(Request(prompt=""), Storyboard(cards=cards), manifest, naming=IN_REQUEST)
    lost = "the last 3 of the 20 frames of the video of cards[0] are left out: tiny keeps 4 at a time before"
    assert (plan(asked, manifest).skip, said) == (0, (f"{lost} other cards' pictures",))


def test_clients_count_from_nought_and_know_no_files(tmp_path: Path, make_frames, manifest: Manifest):
    for name, frames in (("0.png", make_frames(1, 96, 32)), ("1.png", make_frames(1, 8, 8))):
        write_picture(tmp_path / name, frames[0])
    write_video(tmp_path / "2.mp4", make_frames(32, 96, 32), fps=24)

    def said(*cards: Card) -> tuple[str, ...]:
        board, request = Storyboard(cards=cards, seconds=4.0), Request(prompt="x", size=Size(64, 64))
        return on_board(request, board, manifest, naming=IN_REQUEST)[1]

    picture, video = Card(at=0.0, image=tmp_path / "0.png"), Card(at=0.0, video=tmp_path / "2.mp4")
    warnings = said(picture, replace(video, at=2.0))
    assert len(warnings) == 3
    assert warnings[0].startswith("the video of cards[1] has 24 frames a second")
    assert warnings[2].startswith("the image of cards[0] is 96x32")
    (tmp_path / "none.mp4").write_text("no video")
    for cards, message in (
        ((Card(at=0.0, image=tmp_path / "1.png"),), "the image of cards[0] is 8x8: give one"),
        ((picture, Card(at=1.0, image=tmp_path / "3.png")), "the image of cards[1]"),
        (
            (picture, Card(at=1.0, video=tmp_path / "none.mp4")),
            "cannot read the video of cards[1] as a video",
        ),
        ((picture, Card(at=5.0, prompt="y")), "cards[1] (at 5 s) comes too late"),
        (
            (video, replace(video, at=1.0)),
            "cards[1] (at 1 s) begins before cards[0] (at 0 s, until 1.31 s) ends: move it to 1.32 s or cut"
            " the video of cards[0]",
        ),
    ):
        with pytest.raises(InputError) as caught:
            said(*cards)
        assert message in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


def test_a_prompt_that_shares_its_chunk_with_another_is_warned_about(manifest: Manifest):
    cards = tuple(Card(at=at, prompt=prompt) for at, prompt in ((0.0, "a"), (2.0, "b"), (2.4, "c")))
    asked, _ = on_board(Request(prompt=""), Storyboard(cards=cards), manifest)
    (warning,) = plan(asked, manifest).warnings
    assert warning.startswith('the prompt "b" at 2 s is not seen: another at 2.4 s falls within the same 1 s')


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
    assert placed == [(0, 29), (65, 69), (93, 97)]


@pytest.mark.parametrize("seconds", [4.0, 6.0])
def test_the_board_says_how_long_the_film_is(manifest: Manifest, seconds: float):
    board = Storyboard(cards=(Card(at=0.0, prompt="a ball"),), seconds=seconds)
    assert on_board(Request(prompt="", seconds=9), board, manifest)[0].seconds == seconds


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
