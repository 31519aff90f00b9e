"""Where results go."""

from pathlib import Path

import pytest

from unstatic.cli.output import check_pipe, output_path
from unstatic.core.errors import InputError


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("A red ball, bouncing!", "a-red-ball-bouncing.mp4"),
        ("../../etc/passwd", "etc-passwd.mp4"),
        ("\u96ea", "unstatic.mp4"),
        ("ball " * 50, "ball-ball-ball-ball-ball-ball-ball-ball-ball-bal.mp4"),
        (f"{'x' * 47} y", f"{'x' * 47}.mp4"),
    ],
)
def test_names_are_made_of_the_words(folder: Path, words: str, name: str):
    assert folder == Path.cwd()
    assert output_path(None, words, (".mp4",)) == Path(name)


def test_a_new_name_is_one_that_is_not_taken(folder: Path):
    (folder / "ball.mp4").touch()
    assert output_path(None, "ball", (".mp4",)) == Path("ball-2.mp4")


def test_a_chosen_name_is_kept_whatever_the_case_of_its_suffix(folder: Path):
    assert output_path(folder / "Ball.MP4", "words", (".mp4",)) == folder / "Ball.MP4"


def test_a_wrong_suffix_is_refused(folder: Path):
    with pytest.raises(InputError, match=r"output .*ball\.gif must end in \.png or \.jpg"):
        output_path(folder / "ball.gif", "words", (".png", ".jpg"))


def test_json_and_a_video_do_not_share_stdout():
    check_pipe(as_json=False)
    with pytest.raises(InputError, match="--json and -o - both write to stdout"):
        check_pipe(as_json=True)


def test_a_video_is_not_written_into_a_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with pytest.raises(InputError, match="into the terminal"):
        check_pipe(as_json=False)
