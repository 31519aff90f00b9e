import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from unstatic.evals.distribution import frechet_distance, kernel_distance, measure_distribution
from unstatic.evals.files import HOW_TO_FETCH, I3D


def sample(count: int, mean: np.ndarray, root: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw features whose mean and covariance, root' root, are exactly those asked for."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(mean)))
    drawn -= drawn.mean(0)
    whitened = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn, rowvar=False)).T)
    return whitened @ root + mean


def test_the_distance_between_gaussians_is_the_formula():
    # Along each axis: the means' difference, and that of the standard deviations
    scales, others = np.array([1.0, 2.0, 0.5]), np.array([3.0, 2.0, 0.25])
    first = sample(40, np.zeros(3), np.diag(scales))
    second = sample(50, np.array([1.0, 0.0, -2.0]), np.diag(others), seed=1)
    assert frechet_distance(first, second) == pytest.approx(5.0 + np.sum((scales - others) ** 2))


def test_it_equals_the_way_with_a_matrix_root():
    generator = np.random.default_rng(2)
    first, second = (generator.normal(size=(n, 12)) @ generator.normal(size=(12, 12)) for n in (40, 70))
    covariances = [np.cov(features, rowvar=False) for features in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(sum(covariances) - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected)


@pytest.mark.parametrize("count", [2, 20, 300])
def test_a_set_has_no_distance_to_itself(count: int):
    features = np.random.default_rng(0).normal(size=(count, 100))
    assert frechet_distance(features, features[::-1]) == pytest.approx(0.0, abs=1e-9)


def test_fewer_clips_than_features_are_no_special_case():
    """Features in a plane have the same distance when that plane lies in a space of many dimensions."""
    generator = np.random.default_rng(3)
    first, second = generator.normal(size=(2, 10, 4))
    turn = np.linalg.qr(generator.normal(size=(50, 50)))[0][:4]
    assert frechet_distance(first @ turn, second @ turn) == pytest.approx(frechet_distance(first, second))


def test_the_kernel_distance_is_the_estimator_term_by_term():
    first, second = (np.random.default_rng(seed).normal(size=(n, 3)) for seed, n in ((0, 4), (1, 5)))

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (x @ y / 3 + 1) ** 3

    def within(features: np.ndarray) -> float:
        return np.mean(
            [kernel(x, y) for i, x in enumerate(features) for j, y in enumerate(features) if i != j]
        )

    between = np.mean([kernel(x, y) for x in first for y in second])
    assert kernel_distance(first, second) == pytest.approx(within(first) + within(second) - 2 * between)


def test_the_kernel_distance_does_not_depend_on_the_size_of_sets_and_frechets_does():
    generator = np.random.default_rng(4)

    def means(size: int) -> np.ndarray:
        pairs = [generator.normal(size=(2, size, 20)) for _ in range(200)]
        return np.mean([(kernel_distance(*pair), frechet_distance(*pair)) for pair in pairs], axis=0)

    (kernel_small, frechet_small), (kernel_large, frechet_large) = means(10), means(80)
    assert (kernel_small, kernel_large) == pytest.approx((0.0, 0.0), abs=0.02)
    assert frechet_small > 3 * frechet_large > 1


def test_the_result_says_how_many_clips():
    features = np.random.default_rng(0).normal(size=(2, 6, 5))
    result = measure_distribution(features[0], features[1][:4])
    assert result.to_json() == {
        "frechet": pytest.approx(result.frechet),
        "kernel": pytest.approx(result.kernel),
        "real": 6,
        "made": 4,
    }


def blurred(clip: np.ndarray, pixels: float) -> np.ndarray:
    return np.round(gaussian_filter(clip.astype(np.float64), (0, pixels, pixels, 0))).astype(np.uint8)


def frozen(clip: np.ndarray, last: int) -> np.ndarray:
    return clip[np.minimum(np.arange(len(clip)), last)]


def shuffled(clip: np.ndarray, stretch: int) -> np.ndarray:
    """Bring the frames of every stretch into disorder."""
    order = np.arange(len(clip)).reshape(-1, stretch)
    return clip[np.random.default_rng(0).permuted(order, axis=1).ravel()]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not I3D.is_here, reason=HOW_TO_FETCH)
def test_fvd_grows_with_every_kind_of_damage():
    from unstatic.evals.i3d import clip_features, load_i3d
    from unstatic.evals.reconstruction import held_out_clips

    clips = [clip.frames[24:40] for clip in held_out_clips(6)]
    network = load_i3d().to(torch.bfloat16, memory_format=torch.channels_last_3d)
    real = np.stack([clip_features(network, clip) for clip in clips])
    for damage, degrees in ((blurred, (1, 2)), (frozen, (12, 0)), (shuffled, (2, 16))):
        found = [0.0]
        for degree in degrees:
            made = np.stack([clip_features(network, damage(clip, degree)) for clip in clips])
            found.append(frechet_distance(real, made))
        assert found == sorted(found), damage.__name__
        assert found[1] > 1.0, damage.__name__
