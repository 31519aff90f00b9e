"""Joints: which frames are made anew, that the others stay, and that pieces give what the whole gives."""

from dataclasses import replace

import numpy as np
import pytest

from unstatic.core.shapes import Compression
from unstatic.generate import edit
from unstatic.generate.engine import Frames
from unstatic.generate.finish import REPEAT
from unstatic.generate.footage import Footage
from unstatic.generate.joints import JointSmoother, Stretch, stretches
from unstatic.generate.native import NativeEngine
from unstatic.generate.request import Request, plan

COMPRESSION = Compression(time=4, space=8)


def footage(first: int, count: int) -> Footage:
    return Footage(first=first, frames=np.zeros((count, 8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("known", "frames", "anew"),
    [
        ([], 33, []),
        ([(0, 17)], 33, [(16, 20)]),
        ([(17, 16)], 33, [(13, 17)]),
        ([(0, 17), (33, 16)], 49, [(16, 20), (29, 33)]),
        ([(13, 8)], 33, [(9, 13), (20, 24)]),
        ([(0, 17), (21, 8)], 29, [(16, 18), (19, 21)]),
        ([(0, 17), (17, 16)], 33, []),
        ([(0, 17)], 18, []),
        ([(0, 33)], 33, []),
    ],
)
def test_new_frames_beside_footage_are_made_anew(
    known: list[tuple[int, int]], frames: int, anew: list[tuple[int, int]]
):
    found = stretches([footage(*each) for each in known], frames, COMPRESSION)
    assert found == [Stretch(*each) for each in anew]


def mean(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return ((one.astype(int) + other + 1) // 2).astype(np.uint8)


@pytest.mark.parametrize("pieces", [(12,), (1, 4, 4, 3), (3, 3, 6), (5, 1, 1, 1, 4)])
def test_frames_wait_for_what_they_need(pieces: tuple[int, ...]):
    frames = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
    smoother = JointSmoother([Stretch(2, 6), Stretch(7, 9)], mean)
    shown, at = [], 0
    for count in pieces:
        first, ready = smoother.next(frames[at : at + count])
        assert first == sum(len(each) for each in shown)
        shown.append(ready)
        at += count
    found = np.concatenate(shown)
    middle = mean(frames[2], frames[6])
    wanted = frames.copy()
    wanted[3:6] = mean(frames[2], middle), middle, mean(middle, frames[6])
    wanted[8] = mean(frames[7], frames[9])
    assert np.array_equal(found, wanted)


def test_only_new_frames_of_an_extended_video_change(engine: NativeEngine, make_frames):
    video = make_frames(17, width=32, height=32)
    asked = edit.extend(Request(prompt="a red ball"), video, engine.manifest, seconds=1)
    smooth, sharp = (
        np.concatenate(
            [
                event.frames
                for event in engine.stream(plan(replace(asked, interpolator=name), engine.manifest))
                if isinstance(event, Frames)
            ]
        )
        for name in ("rife", REPEAT)
    )
    assert len(smooth) == len(sharp) == 33
    changed = [number for number in range(33) if not np.array_equal(smooth[number], sharp[number])]
    assert changed == [17, 18, 19]
