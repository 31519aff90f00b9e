"""Features of clips: gathered by suite and column, kept on disk, compared with the real renders."""

from pathlib import Path

import numpy as np
import pytest

from unstatic.evals.follow import REAL, RECONSTRUCTION
from unstatic.evals.prompts import load_suite
from unstatic.presets.feature_store import OTHERS, FeatureStore, another
from unstatic.world.held_out import held_out
from unstatic.world.relations import hero


def mean_colour(frames: np.ndarray) -> np.ndarray:
    return frames.reshape(-1, 3).mean(0)


def clip(seed: int, shift: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(shift, 100 + shift, (5, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(mean_colour, "weights A", tmp_path)
    for suite in ("objects", "animals", "pairs"):
        for seed in range(12):
            store.add(suite, REAL, clip(seed))
            store.add(suite, "near", clip(100 + seed))
            store.add(suite, "far", clip(seed, shift=50))
    return store


def test_what_is_farther_has_a_larger_distance_and_only_compared_suites_count(store: FeatureStore) -> None:
    table = store.measure()
    assert list(table.columns) == ["near", "far"]
    assert table.columns["near"].real == table.columns["near"].made == 24
    assert table.columns["far"].frechet > 100 * table.columns["near"].frechet
    assert len(table.to_markdown().splitlines()) == 4
    assert table.to_json()["far"]["made"] == 24


def test_other_renders_stand_first_and_copies_have_no_kernel_distance(store: FeatureStore) -> None:
    for suite in ("objects", "animals"):
        for seed in range(12):
            store.add(suite, RECONSTRUCTION, clip(seed))
            store.add(suite, OTHERS, clip(200 + seed))
    table = store.measure()
    assert list(table.columns) == [OTHERS, "near", "far", RECONSTRUCTION]
    assert table.columns[RECONSTRUCTION].kernel is None
    assert table.to_json()[OTHERS]["kernel"] is not None
    assert table.to_markdown().splitlines()[-1].endswith(" |  |")


@pytest.mark.parametrize("suite", ["objects", "animals"])
def test_another_scene_has_such_a_thing_do_the_same(suite: str) -> None:
    for prompt in load_suite(suite).prompts[:3]:
        other = another(prompt.spec)
        assert (hero(other).shape, other.event) == (hero(prompt.spec).shape, prompt.spec.event)
        assert other.seed != prompt.spec.seed
        assert (other.width, other.height, other.frames) == (64, 64, 65)
        assert not held_out(other)
        assert another(prompt.spec) == other


def test_a_column_of_fewer_clips_is_not_compared(store: FeatureStore) -> None:
    store.add("objects", "few", clip(7))
    assert list(store.measure().columns) == ["near", "far"]


def test_features_come_back_from_disk(store: FeatureStore, tmp_path: Path) -> None:
    store.save("objects")
    store.save("pairs")
    again = FeatureStore(mean_colour, "weights A", tmp_path)
    assert again.has("objects")
    assert not again.has("animals")
    assert again.has("pairs"), "its features are not needed"
    for name, rows in store.features["objects"].items():
        np.testing.assert_array_equal(np.stack(rows), np.stack(again.features["objects"][name]))


def test_features_of_other_weights_are_not_taken_for_these(store: FeatureStore, tmp_path: Path) -> None:
    store.save("objects")
    assert not FeatureStore(mean_colour, "weights B", tmp_path).has("objects")


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = FeatureStore(mean_colour, "weights A")
    store.add("objects", REAL, clip(0))
    store.save("objects")
    assert store.has("objects")
    assert list(tmp_path.iterdir()) == []


def test_what_an_interrupted_suite_has_seen_is_not_looked_at_again(tmp_path: Path) -> None:
    seen: list[int] = []

    def noted(frames: np.ndarray) -> np.ndarray:
        seen.append(len(frames))
        return mean_colour(frames)

    clips = [clip(1), clip(2), clip(2)[:3]]
    interrupted = FeatureStore(noted, "weights A", tmp_path)
    for each in clips[:2]:
        interrupted.add("objects", REAL, each)
    again = FeatureStore(noted, "weights A", tmp_path)
    for each in clips:
        again.add("objects", REAL, each)
    assert seen == [5, 5, 3]
    assert all(map(np.array_equal, again.features["objects"][REAL], map(mean_colour, clips)))
    again.save("objects")
    assert [path.name for path in tmp_path.iterdir()] == ["objects-features.safetensors"]
    FeatureStore(noted, "weights B", tmp_path).add("objects", REAL, clips[0])
    assert seen == [5, 5, 3, 5]
