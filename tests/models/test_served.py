import pytest

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.models.served import DIALECTS, SIZES, Dialect, served_manifest


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_card_that_says_nothing_permits_anything(dialect: Dialect):
    manifest = served_manifest({"id": "someone/model"}, dialect)
    assert (manifest.name, manifest.engine, manifest.given) == ("someone/model", "remote", "picture")
    assert (manifest.sizes, manifest.fps, manifest.max_seconds) == (SIZES, 24, 3600)


def test_a_card_that_lies_is_not_believed():
    card = {"id": "a\x1b[2Jb", "sizes": ["9x9", "64x48", "64x48x3", None], "fps": -3, "max_seconds": 10**9}
    manifest = served_manifest(card, DIALECTS[0])
    assert (manifest.name, manifest.sizes) == ("a[2Jb", (Size(64, 48),))
    assert (manifest.fps, manifest.max_seconds) == (24, 3600)


def test_models_that_make_pictures_are_refused():
    with pytest.raises(InputError, match="qwen makes no videos"):
        served_manifest({"id": "qwen", "task_type": "T2I"}, DIALECTS[0])
