"""Edits: what was kept, whether a joint is seen, and that a frozen new part is not taken for a good one."""

import math
from dataclasses import replace

import numpy as np
import pytest

from unstatic.evals.edits import (
    NAMES,
    EditedVideo,
    Kept,
    evenly,
    joint,
    measure_edit,
    measure_edits,
    psnr,
    worst,
)
from unstatic.evals.intervals import Score
from unstatic.evals.readings import Frames


def turning(count: int, *, speed: float = 1.0) -> Frames:
    """Return a bright patch that goes round in a circle of 24 frames."""
    rows, columns = np.mgrid[:32, :32]
    angles = np.arange(count) * speed * 2 * np.pi / 24
    discs = [
        np.exp(-((rows - 16 - 9 * np.sin(angle)) ** 2 + (columns - 16 - 9 * np.cos(angle)) ** 2) / 18)
        for angle in angles
    ]
    return np.repeat((np.stack(discs) * 200 + 30)[..., None], 3, 3).astype(np.uint8)


def an_edit(frames: Frames, kept: int, joints: tuple[int, ...], *, is_loop: bool = False) -> EditedVideo:
    given = frames[:kept]
    return EditedVideo(
        task="t",
        frames=frames,
        kept=(Kept(first=0, given=given, copy=given),),
        joints=joints,
        is_loop=is_loop,
    )


def test_a_smooth_joint_is_as_large_as_any_change():
    assert joint(turning(48), 20) == pytest.approx((1, 1), abs=0.1)


def test_a_jump_is_seen_in_position():
    video = turning(48)
    jumped = np.concatenate([video[:20], video[26:]])
    position, velocity = joint(jumped, 20)
    assert position > 2.5
    assert velocity > 2.5


def test_a_turn_is_seen_in_velocity_alone():
    video = turning(48)
    back = np.concatenate([video[:20], video[18::-1]])
    position, velocity = joint(back, 20)
    assert position == pytest.approx(1, abs=0.15)
    assert velocity > 2


def test_a_whole_turn_is_a_loop_and_a_part_of_one_is_not():
    assert joint(turning(24), 0, is_loop=True) == pytest.approx((1, 1), abs=0.15)
    position, _ = joint(turning(18), 0, is_loop=True)
    assert position > 2


def test_what_freezes_has_no_motion():
    video = turning(24)
    frozen = np.concatenate([video, video[-1:].repeat(24, 0)])
    assert measure_edit(an_edit(frozen, 24, (24,))).motion == 0
    assert measure_edit(an_edit(turning(48), 24, (24,))).motion == pytest.approx(1, abs=0.05)


def test_the_worst_joint_counts():
    video = turning(60)
    twice = np.concatenate([video[:20], video[20:40], video[46:]])
    assert measure_edit(an_edit(twice, 10, (20, 40))).position == joint(twice, 40)[0]


def test_psnr_is_of_all_frames_together():
    zero, two = np.zeros((4, 8, 8, 3), np.uint8), np.full((4, 8, 8, 3), 2, np.uint8)
    assert psnr([zero], [zero]) == math.inf
    assert psnr([zero], [two]) == pytest.approx(10 * math.log10(255**2 / 4))
    assert psnr([zero, zero], [zero, two]) == pytest.approx(10 * math.log10(255**2 / 2))
    assert math.isnan(psnr([], []))


def test_tables_show_medians_and_leave_out_what_is_not_there():
    good, bad = an_edit(turning(48), 24, (24,)), an_edit(turning(48, speed=2), 24, (24,))
    result = measure_edits([good, good, bad, EditedVideo(task="u", frames=turning(8), kept=(), joints=())])
    assert result.to_json()["t"]["edits"] == len(result.to_json()["t"]["figures"]) == 3
    assert result.to_json()["u"] == dict.fromkeys(NAMES) | {
        "unnoticed": {"right": 0, "total": 0, "interval_95": [0.0, 1.0]},
        "edits": 1,
        "figures": [dict.fromkeys(NAMES)],
    }
    assert "| u | 1 | - dB | - dB | - | - | - | - | - | - |" in result.to_markdown()


def test_a_joint_is_unnoticed_if_it_is_as_small_as_in_nine_of_ten_uncut_renders():
    smooth = turning(48)
    jumped = np.concatenate([smooth[:20], smooth[26:]])
    uneven = np.concatenate([smooth[:24], smooth[25:], smooth[:1]])
    edits = [
        replace(an_edit(frames, 20, (20,)), uncut=uncut)
        for frames, uncut in ((smooth, smooth), (jumped, smooth), (smooth, uneven))
    ]
    result = measure_edits(edits)
    assert result.unnoticed("t") == Score(2, 3)
    assert result.median("t", "uncut_position") == pytest.approx(1, abs=0.1)
    assert result.to_json()["t"]["unnoticed"]["right"] == 2


def test_of_several_joints_the_uncut_render_is_looked_at_in_as_many_places():
    assert evenly(65, 1) == [32]
    assert evenly(65, 3) == [16, 32, 48]
    still = turning(30)
    leaps = np.concatenate([still[:10], still[14:]])
    found = measure_edit(replace(an_edit(still, 10, (10, 20)), uncut=np.concatenate([leaps, leaps])))
    assert found.uncut_position == worst([joint(np.concatenate([leaps, leaps]), at) for at in (17, 34)])[0]


def test_of_what_was_painted_anew_above_only_the_rest_is_compared() -> None:
    video = turning(12)
    painted = video.copy()
    painted[:, :16] = 0
    copied = np.clip(video.astype(int) + 2, 0, 255).astype(np.uint8)
    whole, below = (Kept(first=0, given=video, copy=copied, top=top) for top in (0, 16))
    edited = EditedVideo(task="repaint", frames=painted, kept=(below,), joints=())
    found = measure_edit(edited)
    assert found.kept_psnr == math.inf
    assert found.copy_psnr == pytest.approx(20 * math.log10(255 / 2))
    assert math.isnan(found.position)
    assert math.isnan(found.motion)
    assert measure_edit(replace(edited, kept=(whole,))).kept_psnr < 25
