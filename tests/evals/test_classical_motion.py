import pytest
import torch

from unstatic.evals.classical_motion import brief, camera_signals, fitted_motion, summary, waves


def texture(shift_x: float = 0.0, shift_y: float = 0.0, zoom: float = 1.0) -> torch.Tensor:
    """Return a smooth pattern, moved by pixels and enlarged about the middle."""
    steps = torch.linspace(-1, 1, 64)
    x = (steps[None, :] - 2 * shift_x / 63) / zoom
    y = (steps[:, None] - 2 * shift_y / 63) / zoom
    return (0.5 + 0.2 * (9 * x + 4 * y).sin() + 0.2 * (7 * y - 5 * x).sin())[None]


EVERYWHERE = torch.ones(1, 64, 64)


def test_a_shift_is_measured_in_pixels():
    flow, _ = fitted_motion(texture(), texture(0.6, -0.3), EVERYWHERE)
    assert flow[0].tolist() == pytest.approx([0.6, 0, 0, -0.3, 0, 0], abs=0.06)


def test_a_zoom_pushes_outwards():
    flow, _ = fitted_motion(texture(), texture(zoom=1.02), EVERYWHERE)
    u, along_x, _, v, _, along_y = flow[0].tolist()
    assert (u, v) == pytest.approx((0, 0), abs=0.05)
    assert (along_x, along_y) == pytest.approx((0.5, 0.5), abs=0.2)  # at the border there is less to see


def test_what_is_not_asked_for_does_not_count():
    now = texture(0.5)
    now[:, 20:44, 20:44] = texture(-1.5)[:, 20:44, 20:44]
    background = torch.ones(1, 64, 64)
    background[:, 18:46, 18:46] = 0.0
    flow, _ = fitted_motion(texture(), now, background)
    assert flow[0, 0] == pytest.approx(0.5, abs=0.1)


def test_a_plain_picture_does_not_move():
    plain = torch.full((1, 64, 64), 0.4)
    assert camera_signals(plain, plain, EVERYWHERE).isfinite().all()
    assert fitted_motion(plain, plain, EVERYWHERE)[0].abs().max() < 1e-4


def test_a_wave_is_found_at_its_frequency():
    times = torch.arange(22)[:, None] / 22
    found = waves((6.2832 * 3 * times).sin())
    assert found.argmax() == 2  # the third wave
    assert summary(times.expand(-1, 2)).isfinite().all()
    assert brief(times)[:1].item() == pytest.approx(times.mean().item())
