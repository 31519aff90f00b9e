"""What requests say and answers look like; `extra="forbid"`: an unknown field is an error, not silence."""

import re
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from unstatic.server.errors import ApiError, first_fault
from unstatic.server.tables import Job

SIZE = re.compile(r"[1-9][0-9]{0,5}x[1-9][0-9]{0,5}", re.ASCII)
MAX_PROMPT, MAX_SEED, MAX_CARDS = 32_000, 2**63 - 1, 30
MAX_DESCRIPTION = 500


def _size(text: str) -> str:
    if SIZE.fullmatch(text) is None:
        raise ValueError("write it as WIDTHxHEIGHT, for example 1280x720")
    return text


def _number(value: object) -> object:
    """Refuse what is no number: pydantic would take true for 1 and "1_0" for 10."""
    if isinstance(value, bool) or (isinstance(value, str) and (not value.isascii() or "_" in value)):
        raise ValueError("it must be a number")
    return value.strip() if isinstance(value, str) else value


def _own_choice(value: object) -> object:
    """Take "auto" for nothing said, as the images API does."""
    return None if value == "auto" else value


Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]
SizeText = Annotated[str, AfterValidator(_size), Field(examples=["1280x720"])]
# Bounds come before it, or the schema would not say them; with them nothing computed is too large for a float
NUMBER = BeforeValidator(_number)
Whole = Annotated[int, Field(ge=-(2**63), le=2**63 - 1), NUMBER]
Real = Annotated[float, Field(ge=-1e9, le=1e9), NUMBER]
Length = Annotated[float, Field(ge=0.001, le=1e9), NUMBER]
Time = Annotated[float, Field(ge=0, le=1e9), NUMBER]
Strength = Annotated[float, Field(ge=0, le=1), NUMBER]
Count = Annotated[int, Field(ge=1, le=100_000), NUMBER]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Body(BaseModel):
    """What a request says: nothing unknown, and complaints do not repeat it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Reference(Body):
    """A picture that is named instead of sent."""

    image_url: str | None = None
    file_id: str | None = None


class Named(Body):
    """A video or a character of the account."""

    id: Name


class Sampling(Body):
    """The extra fields that people know from open servers."""

    model: Name | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), NUMBER] | None = None
    negative_prompt: Annotated[str, Field(max_length=MAX_PROMPT)] | None = None
    num_inference_steps: Whole | None = None
    guidance_scale: Real | None = None
    enhance_prompt: bool = True


class Sized(Sampling):
    """Fields of what has a size of its own."""

    size: SizeText | None = None
    width: Count | None = None
    height: Count | None = None


class CreateBody(Sized):
    """A film to be made."""

    prompt: Prompt
    fps: Whole | None = None
    seconds: Length | None = None
    num_frames: Count | None = None
    input_reference: Reference | None = None
    characters: Annotated[tuple[Named, ...], Field(max_length=2)] = ()


class EditBody(Sampling):
    """A video to be made anew; with the file `mask` only where that is white."""

    prompt: Prompt
    video: Named | None = None
    strength: Strength | None = None


class RemixBody(Sampling):
    """A film of the account to be made anew."""

    prompt: Prompt
    strength: Strength | None = None


class ExtensionBody(Sampling):
    """A video to be gone on with, or with `backward` what came before it."""

    prompt: Prompt
    seconds: Length
    video: Named | None = None
    backward: bool = False


class LoopBody(Sampling):
    """A video that shall flow into its own beginning."""

    prompt: Prompt
    seconds: Length
    video: Named | None = None


class BlendBody(Sampling):
    """Two videos, and what leads from one to the other."""

    prompt: Prompt
    seconds: Length
    video: Named | None = None
    other: Named | None = None


class RecutBody(Sampling):
    """A span of a video that is kept, and the seconds that are made on its sides."""

    prompt: Prompt
    video: Named | None = None
    start: Time
    end: Length
    before: Time = 0.0
    after: Time = 0.0


class CardBody(Body):
    """What changes at `at` seconds of a storyboard; a picture may be sent as the file cards[N][image]."""

    at: Time
    prompt: Prompt | None = None
    cut: bool | None = None
    image: Reference | None = None
    video: Named | None = None


class StoryboardBody(Sized):
    """A film of several cards."""

    cards: Annotated[tuple[CardBody, ...], Field(min_length=1, max_length=MAX_CARDS)]
    seconds: Length
    fps: Whole | None = None


class CharacterBody(Body):
    """The name of a character, and how it looks in words; its clip is the file `video`."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    description: Annotated[str, Field(min_length=1, max_length=MAX_DESCRIPTION)] | None = None


class ImageBody(Sized):
    """Pictures to be made; with the file `image`, from that."""

    prompt: Prompt
    size: Annotated[
        SizeText | None,
        BeforeValidator(_own_choice),
        Field(description="WIDTHxHEIGHT; auto or nothing is the model's own choice."),
    ] = None
    n: Annotated[int, Field(ge=1, le=4), NUMBER] = 1
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    quality: Annotated[
        Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"],
        Field(description="Without effect: num_inference_steps decides."),
    ] = "auto"
    user: Annotated[Name, Field(description="Without effect: the key says who asks.")] | None = None


class JobError(BaseModel):
    """Why a film could not be made."""

    code: str
    message: str


class Video(BaseModel):
    """A film that was asked for."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: Annotated[int, Field(ge=0, le=100)]
    created_at: int
    completed_at: int | None
    expires_at: int | None
    prompt: str
    size: str
    seconds: str
    remixed_from_video_id: str | None
    error: JobError | None


class VideoList(BaseModel):
    """A page of films."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(BaseModel):
    """A film that is gone."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class CharacterAnswer(BaseModel):
    """A character of the account."""

    id: str
    object: Literal["character"] = "character"
    name: str
    description: str | None
    created_at: int


class CharacterDeleted(BaseModel):
    """A character that is gone."""

    id: str
    object: Literal["character.deleted"] = "character.deleted"
    deleted: Literal[True] = True


class Picture(BaseModel):
    """A picture, in the answer or at an address."""

    b64_json: str | None = None
    url: str | None = None


class Pictures(BaseModel):
    """Pictures that were made."""

    created: int
    data: list[Picture]
    output_format: Literal["png", "jpeg", "webp"]
    size: str


class Model(BaseModel):
    """What a model can make."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["unstatic"] = "unstatic"
    sizes: list[str]
    fps: int
    max_seconds: float


class ModelList(BaseModel):
    """The models that are offered."""

    object: Literal["list"] = "list"
    data: list[Model]


class Fault(BaseModel):
    """What was wrong."""

    message: str
    type: str
    param: str | None
    code: str


class Error(BaseModel):
    """How every error is answered."""

    error: Fault


AnyBody = TypeVar("AnyBody", bound=Body)


def read_body(kind: type[AnyBody], fields: dict[str, Any]) -> AnyBody:
    """Return what a request says. Raises ApiError 400 naming the first field that is wrong."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise first_fault(list(error.errors(include_url=False, include_input=False))) from None


def of_body(*kinds: type[Body], files: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what the OpenAPI schema says of a route whose body is read by hand."""
    schema = _inlined(kinds[0].model_json_schema())
    properties = schema["properties"] | {name: {"type": "string", "format": "binary"} for name in files}
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    content["multipart/form-data"] = {"schema": {**schema, "properties": properties}}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(value: Any, parts: dict[str, Any] | None = None) -> Any:
    """Return a schema without references, which would point to the wrong place in a larger one."""
    if isinstance(value, list):
        return [_inlined(each, parts) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return value
    found = cast("dict[str, Any]", value)
    parts = parts or found.get("$defs", {})
    if "$ref" in found:
        return _inlined((parts or {})[found["$ref"].rsplit("/", 1)[1]], parts)
    return {name: _inlined(each, parts) for name, each in found.items() if name != "$defs"}


def video_of(job: Job) -> Video:
    """Return how a film is shown to who asked for it; failed ones say why."""
    failed = job.status == "failed"
    return Video(
        id=job.id,
        model=job.model,
        status=job.status,  # pyright: ignore[reportArgumentType]
        progress=job.progress,
        created_at=job.created_at,
        completed_at=job.completed_at,
        expires_at=job.expires_at,
        prompt=job.prompt,
        size=job.size,
        seconds=f"{job.seconds:g}",
        remixed_from_video_id=job.remixed_from,
        error=JobError(code=job.error_code or "failed", message=job.error_message or "") if failed else None,
    )


def first_answer(job: Job) -> Video:
    """Return how a film was shown when it was asked for, whatever became of it since."""
    fresh = {"status": "queued", "progress": 0, "completed_at": None, "expires_at": None, "error": None}
    return video_of(job).model_copy(update=fresh)


def size_of(body: Sized) -> str | None:
    """Return the size that a body asks for. Raises ApiError if it asks for two, or for half of one."""
    if body.width is None and body.height is None:
        return body.size
    if body.width is None or body.height is None:
        raise ApiError(400, "give width and height, or size", code="invalid_value", param="width")
    wanted = f"{body.width}x{body.height}"
    if body.size not in (None, wanted):
        raise ApiError(
            400, f"size is {body.size}, width and height {wanted}", code="invalid_value", param="size"
        )
    return wanted
