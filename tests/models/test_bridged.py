import json
from pathlib import Path

import pytest

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression, Size
from unstatic.models.bridged import FAMILIES, bridged_manifest, pipeline_class


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_in_this_diffusers_and_makes_a_manifest(name: str) -> None:
    """Sides and frames of its own sizes are such as its pipeline takes."""
    assert pipeline_class(name).__name__ == name
    family, manifest = FAMILIES[name], bridged_manifest(Path("some-model"), name)
    assert (manifest.name, manifest.engine, manifest.chunk) == ("some-model", "diffusers", None)
    assert manifest.max_seconds * manifest.fps == family.frames
    assert all(size.width % family.space == size.height % family.space == 0 for size in family.sizes)
    assert manifest.given == ("pictures" if "ImageToVideo" in name else "nothing")


@pytest.mark.parametrize(("patches", "fps", "frames"), [(None, 8, 49), (2, 16, 81)])
def test_cogvideox_1_5_is_not_1_0(patches: int | None, fps: int, frames: int, tmp_path: Path) -> None:
    """Both have one pipeline; films of 1.5 would play at half their speed."""
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text(json.dumps({"patch_size_t": patches}))
    manifest = bridged_manifest(tmp_path, "CogVideoXPipeline")
    assert (manifest.fps, manifest.max_seconds * manifest.fps) == (fps, frames)
    assert manifest.sizes[0] == (Size(720, 480) if patches is None else Size(1360, 768))


def test_of_a_family_that_is_not_listed_the_pipeline_is_asked() -> None:
    manifest = bridged_manifest(Path("allegro"), "AllegroPipeline")
    assert (manifest.sizes, manifest.compression) == ((Size(832, 480),), Compression(time=4, space=16))
    assert (manifest.defaults.steps, manifest.defaults.guidance) == (100, 7.5)
    assert manifest.licence == "see its model card"


def test_what_makes_no_video_of_words_is_refused() -> None:
    with pytest.raises(InputError, match="StableDiffusionPipeline makes no video of words"):
        bridged_manifest(Path("sd"), "StableDiffusionPipeline")
    with pytest.raises(InputError, match="has no NextYearsPipeline: a newer one may"):
        bridged_manifest(Path("next"), "NextYearsPipeline")
