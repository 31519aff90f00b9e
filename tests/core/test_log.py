import os
import re
import sys

import pytest

from unstatic.core.log import PlainBar, progress


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_plain_progress_is_a_line_every_five_seconds_and_one_at_the_end():
    clock, lines = Clock(), list[str]()
    bar = PlainBar("sampling", 20, lines.append, clock=clock)
    for step in range(20):
        clock.now_s += 1
        bar.advance(note=f"loss {step}")
    bar.finish()
    assert lines == [
        "sampling 5/20, 0:00:15 left, loss 4",
        "sampling 10/20, 0:00:10 left, loss 9",
        "sampling 15/20, 0:00:05 left, loss 14",
        "sampling 20/20, 0:00:00 left, loss 19",
        "sampling 20/20, 0:00:20 taken, loss 19",
    ]


def test_a_note_stays_until_the_next():
    clock, lines = Clock(), list[str]()
    bar = PlainBar("training", 3, lines.append, clock=clock)
    bar.advance(note="loss 1")
    bar.advance(0)
    clock.now_s += 9
    bar.advance()
    assert lines == ["training 2/3, 0:00:04 left, loss 1"]


def test_time_left_is_unknown_before_the_first_step():
    clock, lines = Clock(), list[str]()
    bar = PlainBar("training", 3, lines.append, clock=clock)
    clock.now_s += 9
    bar.advance(0)
    assert lines == ["training 0/3, time left unknown"]


def test_what_was_done_earlier_took_no_time():
    clock, lines = Clock(), list[str]()
    bar = PlainBar("training", 100, lines.append, done=80, clock=clock)
    clock.now_s += 9
    bar.advance(10)
    assert lines == ["training 90/100, 0:00:09 left"]


def test_progress_leaves_stdout_alone(capsys: pytest.CaptureFixture[str]):
    with progress("sampling", 2) as bar:
        bar.advance()
        bar.advance()
    output, errors = capsys.readouterr()
    assert output == ""
    assert re.fullmatch(r"sampling 2/2, 0:00:\d\d taken\n", errors)


def everything_on(screen: int) -> bytes:
    """Read a pseudo-terminal whose other end is closed, to its end."""
    shown = b""
    while True:
        try:
            piece = os.read(screen, 4096)
        except OSError:  # how Linux says that there is no more
            piece = b""
        if not piece:
            os.close(screen)
            return shown
        shown += piece


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_live_bar_and_stdout_stays_the_users(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    reader, writer = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress("sampling", 4) as bar:
            print("clip.mp4")
            for _ in range(4):
                bar.advance(note="sigma 0.5")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", everything_on(reader).decode())
    assert capsys.readouterr().out == "clip.mp4\n"
    assert re.search(r"sampling .* 4/4 .* sigma 0\.5", shown)


def test_an_error_passes_through_and_claims_no_end(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(KeyboardInterrupt), progress("sampling", 2):
        raise KeyboardInterrupt
    assert "taken" not in capsys.readouterr().err
