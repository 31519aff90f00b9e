"""What bodies may say, and how a field that is wrong is named."""

from typing import Any

import pytest

from unstatic.server import schemas
from unstatic.server.errors import ApiError
from unstatic.server.schemas import (
    CreateBody,
    ImageBody,
    RecutBody,
    StoryboardBody,
    read_body,
    size_of,
    video_of,
)
from unstatic.server.tables import Job


@pytest.mark.parametrize("seconds", ["8", 8, 8.0, " 8 "])
def test_seconds_are_a_number_or_its_text(seconds: object):
    assert read_body(CreateBody, {"prompt": "x", "seconds": seconds}).seconds == 8


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seconds", -1),
        ("seconds", 0),
        ("seconds", True),
        ("seconds", "four"),
        ("seconds", "nan"),
        ("seconds", "inf"),
        ("seconds", "\u0668"),
        ("seconds", [4]),
        ("size", "1280X720"),
        ("size", "1280"),
        ("size", "0x0"),
        ("size", "-1x5"),
        ("size", 5),
        ("width", 0),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", 1.5),
        ("seed", "1_0"),
        ("seconds", "1_0"),
        ("seconds", 1e308),
        ("seconds", 1e-300),
        ("guidance_scale", "-inf"),
        ("num_frames", 0),
        ("prompt", ""),
        ("prompt", "x" * 32_001),
        ("prompt", None),
        ("characters", [{"id": "a"}] * 3),
        ("characters", [{"name": "a"}]),
        ("input_reference", "text"),
        ("enhance_prompt", "perhaps"),
        ("unheard_of", 1),
    ],
)
def test_f22_a_field_that_is_wrong_is_named(field: str, value: object):
    with pytest.raises(ApiError) as caught:
        read_body(CreateBody, {"prompt": "x"} | {field: value})
    assert caught.value.status == 400
    assert caught.value.param is not None
    assert caught.value.param.startswith(field)
    assert "\n" not in caught.value.message
    assert caught.value.code == ("unknown_parameter" if field == "unheard_of" else "invalid_value")


@pytest.mark.parametrize(
    "field", ["seconds", "fps", "num_frames", "num_inference_steps", "guidance_scale", "width", "seed"]
)
def test_f22_no_number_is_too_large_to_be_refused(field: str):
    for huge in (10**400, -(10**400), "9" * 400):
        with pytest.raises(ApiError) as caught:
            read_body(CreateBody, {"prompt": "x", field: huge})
        assert (caught.value.status, caught.value.param) == (400, field)


def test_complaints_do_not_repeat_what_was_said():
    with pytest.raises(ApiError) as caught:
        read_body(CreateBody, {"prompt": "x", "seed": "very secret words"})
    assert "secret" not in caught.value.message


def test_a_size_may_come_as_width_and_height():
    def size(**fields: Any) -> str | None:
        return size_of(read_body(CreateBody, {"prompt": "x"} | fields))

    assert size() is None
    assert size(size="1280x720") == size(width="1280", height=720) == "1280x720"
    assert size(size="8x6", width=8, height=6) == "8x6"
    for wrong in ({"width": 8}, {"height": 8}, {"size": "8x7", "width": 8, "height": 6}):
        with pytest.raises(ApiError, match="width"):
            size(**wrong)


def test_other_bodies():
    board = read_body(
        StoryboardBody, {"seconds": "4", "cards": [{"at": "0", "prompt": "a"}, {"at": 2, "prompt": "b"}]}
    )
    assert [each.at for each in board.cards] == [0, 2]
    assert read_body(RecutBody, {"prompt": "x", "start": 0, "end": 1}).before == 0
    for body, fields in (
        (StoryboardBody, {"seconds": 4, "cards": []}),
        (ImageBody, {"prompt": "x", "n": 5}),
        (ImageBody, {"prompt": "x", "output_format": "gif"}),
        (ImageBody, {"prompt": "x", "quality": "best"}),
        (ImageBody, {"prompt": "x", "size": "automatic"}),
        (RecutBody, {"prompt": "x", "start": 0}),
        (RecutBody, {"prompt": "x", "start": 0, "end": 1, "before": 1e308}),
        (StoryboardBody, {"seconds": 4, "cards": [{"at": 1e308, "prompt": "x"}]}),
    ):
        with pytest.raises(ApiError):
            read_body(body, fields)


def test_what_the_contract_has_for_pictures_and_we_do_not_is_taken_and_said_to_be_without_effect():
    body = read_body(ImageBody, {"prompt": "x", "size": "auto", "quality": "high", "user": "somebody"})
    assert size_of(body) is None
    said = schemas.of_body(ImageBody)["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert "xhigh" in said["quality"]["enum"]
    for name in ("quality", "user"):
        assert "Without effect" in str(said[name])
    assert "auto" in said["size"]["description"]


def test_schemas_say_the_bounds_of_numbers():
    said = schemas.of_body(CreateBody)["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert said["seconds"]["anyOf"][0] == {"type": "number", "minimum": 0.001, "maximum": 1e9}
    assert said["seed"]["anyOf"][0] == {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}


@pytest.mark.parametrize(("seconds", "text"), [(4.0, "4"), (0.75, "0.75"), (60.0, "60"), (49 / 16, "3.0625")])
def test_seconds_are_answered_as_a_text(seconds: float, text: str):
    job = Job(id="video_1", model="nano", status="queued", progress=0, created_at=1, prompt="x", size="8x8")
    job.seconds = seconds
    assert video_of(job).seconds == text


def test_schemas_of_bodies_stand_for_themselves():
    said = schemas.of_body(CreateBody, files=("input_reference",))["requestBody"]["content"]
    assert "$ref" not in str(said)
    assert said["multipart/form-data"]["schema"]["properties"]["input_reference"]["format"] == "binary"
    assert said["application/json"]["schema"]["properties"]["input_reference"] != {"format": "binary"}
    assert said["application/json"]["schema"]["additionalProperties"] is False
