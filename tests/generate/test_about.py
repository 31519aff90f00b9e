"""What a film says of how it was made."""

import json
from pathlib import Path

import pytest

import unstatic
from unstatic.generate.about import about_file
from unstatic.generate.api import Model
from unstatic.generate.native import NativeEngine
from unstatic.models.manifest import open_model


@pytest.fixture
def model(engine: NativeEngine) -> Model:
    return Model(engine)


def test_a_file_says_what_made_it_and_names_no_folder(model: Model, tiny_model: Path, make_frames):
    cues = (unstatic.Cue(at=0.5, prompt="a cube"),)
    planned = model.plan(" a ball", seconds=1, seed=7, image=make_frames(1)[0], cues=cues, negative="fog")
    loras = ("folder/style.safetensors@0.5", "late:folder/other.safetensors")
    about = about_file(planned, open_model(tiny_model), loras, "int8")
    assert (about["title"], about["description"]) == ("a ball", "a ball")
    facts = json.loads(about["comment"])
    assert facts["digest"] == open_model(tiny_model).digest()
    assert facts["loras"] == ["style.safetensors@0.5", "late:other.safetensors@1"]
    assert facts["cues"] == [{"frame": 8, "prompt": "a cube", "text": "a cube", "cut": False}]
    wanted = {
        "model": "tiny",
        "seed": 7,
        "quantise": "int8",
        "given": ["image"],
        "negative": "fog",
        "size": "64x64",
    }
    assert wanted.items() <= facts.items()
    assert str(tiny_model) not in about["comment"]


def test_a_file_says_nothing_where_there_is_nothing_to_say(model: Model, tiny_model: Path, make_frames):
    about = about_file(model.plan("", seconds=1, image=make_frames(1)[0]), open_model(tiny_model))
    assert set(about) == {"comment"}
    assert not {"loras", "quantise", "strength"} & set(json.loads(about["comment"]))
