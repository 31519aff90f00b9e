"""A film is made once, whatever stops an evaluation, and never taken for one of another kind."""

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unstatic.core.files import WriteError
from unstatic.evals.prompts import Prompt, load_suite
from unstatic.evals.speed import FilmTimes
from unstatic.presets.film_store import FilmStore

PROMPTS = load_suite("objects").first(3).prompts


class Maker:
    """Makes clips of noise, and notes for which prompts."""

    def __init__(self):
        self.asked: list[str] = []

    def __call__(self, prompt: Prompt) -> np.ndarray:
        self.asked.append(prompt.text)
        return np.random.default_rng(len(self.asked)).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)


def made(store: FilmStore, maker: Maker, *, part: str = "objects", column: str = "few") -> list[np.ndarray]:
    make = store.keeping(part)(column, maker)
    return [make(prompt) for prompt in PROMPTS]


def test_what_was_made_is_read_again_to_the_bit(tmp_path: Path):
    maker = Maker()
    first = made(FilmStore(tmp_path, "A"), maker)
    again = made(FilmStore(tmp_path, "A"), maker)
    assert maker.asked == [prompt.text for prompt in PROMPTS]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert again[0].dtype == np.uint8


@pytest.mark.parametrize(
    ("key", "part", "column"), [("B", "objects", "few"), ("A", "animals", "few"), ("A", "objects", "many")]
)
def test_films_of_other_weights_parts_and_columns_are_others(
    tmp_path: Path, key: str, part: str, column: str
):
    maker = Maker()
    made(FilmStore(tmp_path, "A"), maker)
    made(FilmStore(tmp_path, key), maker, part=part, column=column)
    assert len(maker.asked) == 6


def test_equal_words_with_other_static_are_another_film(tmp_path: Path):
    store, prompt = FilmStore(tmp_path, "A"), PROMPTS[0]
    other = replace(prompt, spec=replace(prompt.spec, seed=prompt.spec.seed + 1))
    assert store.path_of("objects", "few", prompt) != store.path_of("objects", "few", other)


def test_the_time_of_a_film_is_that_of_making_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = iter([10.0, 17.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    for _ in range(2):
        times = FilmTimes(4.0)
        FilmStore(tmp_path, "A").keeping("objects", times)("few", Maker())(PROMPTS[0])
        assert times.seconds == {"few": [7.5]}


@pytest.mark.parametrize("damage", ["empty", "cut", "changed"])
def test_a_damaged_film_is_made_again(tmp_path: Path, damage: str):
    store, maker = FilmStore(tmp_path, "A"), Maker()
    made(store, maker)
    path = store.path_of("objects", "few", PROMPTS[1])
    assert path is not None
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    path.write_bytes({"empty": b"", "cut": whole[:-1], "changed": bytes(changed)}[damage])
    made(store, maker)
    assert maker.asked[3:] == [PROMPTS[1].text]


def test_a_part_that_another_process_ends_meanwhile_is_no_failure(tmp_path: Path):
    store = FilmStore(tmp_path, "A")

    def ended_elsewhere(path: Path) -> Path:
        store.forget("objects")
        return path

    assert len(made(store, Maker())) == 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unstatic.core.files._flush", ended_elsewhere)
        patch.setattr("unstatic.presets.film_store._read", lambda _: None)
        assert len(made(store, Maker())) == 3


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("unstatic.core.files._flush", full)
    with pytest.raises(WriteError, match=r"\.film: No space left on device"):
        made(FilmStore(tmp_path, "A"), Maker())
    assert list((tmp_path / "objects").iterdir()) == []


def test_films_go_when_their_part_is_done(tmp_path: Path):
    store = FilmStore(tmp_path, "A")
    made(store, Maker())
    made(store, Maker(), part="animals")
    store.forget("objects")
    store.forget("nothing is there")
    assert [path.name for path in tmp_path.iterdir()] == ["animals"]
    store.forget("animals")
    assert not tmp_path.exists()


def test_without_a_folder_nothing_is_kept():
    maker = Maker()
    made(FilmStore(None, "A"), maker)
    made(FilmStore(None, "A"), maker)
    assert len(maker.asked) == 6
