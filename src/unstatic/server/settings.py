"""What an operator may set, and the only place of the server that reads the environment."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from unstatic.core.errors import InputError
from unstatic.core.folders import server_folder
from unstatic.generate.defaults import DEFAULT_MODEL

PREFIX = "UNSTATIC_SERVE_"
# Where containers are given secrets as files, here `unstatic_serve_database` and its like
SECRETS = Path("/run/secrets")


def _apart(value: object) -> object:
    """Take names apart that commas separate, as they are in the environment."""
    return (
        tuple(each.strip() for each in value.split(",") if each.strip()) if isinstance(value, str) else value
    )


def _read_object(value: object) -> object:
    """Read JSON, as it is in the environment."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError('Input should be an object of JSON, as {"key": "value"}') from None


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_apart)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """Every field is the variable UNSTATIC_SERVE_ and its name in capitals; nothing must be set.

    Times are in seconds. Of two sources of one setting, what a command says counts.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, env_ignore_empty=True
    )

    # Where things are
    data: Path = Field(default_factory=server_folder, description="The folder of everything below.")
    database: SecretStr | None = Field(
        default=None, description="URL of SQLAlchemy; without it SQLite in the folder `data`."
    )
    storage: str | None = Field(
        default=None, description="Where files go: a file:// or s3:// URL; without it in the folder `data`."
    )
    storage_options: Annotated[dict[str, Any], NoDecode, BeforeValidator(_read_object)] = Field(
        default_factory=dict, repr=False, description="What fsspec is told about the storage, as JSON."
    )
    public_url: str | None = Field(
        default=None, description="How clients reach the server, for addresses in answers."
    )

    # Who makes films
    models: Names = Field(
        default=(DEFAULT_MODEL,), description="Models that are offered; the first is the default."
    )
    workers: int = Field(default=1, ge=0, description="How many worker processes `serve` starts itself.")
    lease: Seconds = Field(default=60, description="How long a worker may be silent.")
    patience: Seconds = Field(
        default=900, description="How long one step, or loading a model, may take before a worker hangs."
    )
    ray: str | None = Field(
        default=None, description="The address of a Ray cluster that works, `auto` or `local`."
    )
    most_workers: int = Field(default=64, ge=1, description="How many actors of Ray work at most.")
    worker_cpus: float = Field(default=1, ge=0, description="Cores that Ray keeps for a worker.")
    worker_gpus: float = Field(default=0, ge=0, description="GPUs that Ray keeps for a worker.")
    attempts: Count = Field(default=3, description="How often a job is begun before it counts as failed.")
    unoffered: Seconds = Field(
        default=86_400, description="How long a job waits for a model that nobody offers; then it fails."
    )
    poll: Seconds = Field(default=0.05, description="How often an idle worker looks for a job.")
    drain: Seconds = Field(default=30, description="How long a job may go on after a SIGTERM.")

    # Limits
    max_queue: Count = Field(default=10_000, description="Jobs that wait, of all accounts together.")
    max_seconds: Seconds = Field(default=60, description="The longest film, if the model makes it.")
    max_upload: Bytes = Field(default=100_000_000, description="Bytes of one request with its files.")
    max_pixels: Count = Field(default=40_000_000, description="Pixels of a picture that is sent.")
    reads: Count = Field(default=6_000, description="Requests a minute that one key may make.")
    retry_window: Seconds = Field(default=120, description="How long a repeated POST is taken for a retry.")
    remember: Seconds = Field(default=86_400, description="How long an Idempotency-Key is remembered.")
    keep: Seconds = Field(default=7 * 86_400, description="How long a film is kept.")

    # What operators see
    otlp_endpoint: str | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "otlp_endpoint", f"{PREFIX}OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
        ),
        description="Where traces of OpenTelemetry go, by HTTP; also OTEL_EXPORTER_OTLP_ENDPOINT.",
    )

    # What is fetched from and sent to addresses that clients name
    fetch_urls: bool = Field(default=False, description="Fetch pictures from http(s) addresses.")
    allowed_networks: Names = Field(
        default=(), description="Networks, as 10.0.0.0/8, that count as public for webhooks and pictures."
    )

    @property
    def database_url(self) -> str:
        """Where the database is."""
        return (
            f"sqlite:///{self.data}/jobs.sqlite"
            if self.database is None
            else self.database.get_secret_value()
        )

    @property
    def storage_url(self) -> str:
        """Where files are."""
        return f"file://{self.data.resolve()}/files" if self.storage is None else self.storage

    def as_environment(self) -> dict[str, str]:
        """Return variables that give a child process these settings."""
        said: dict[str, str] = {}
        for name in type(self).model_fields:
            value: object = getattr(self, name)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            if isinstance(value, tuple):
                value = ",".join(cast(tuple[str, ...], value))
            if value is not None:
                said[f"{PREFIX}{name.upper()}"] = json.dumps(value) if isinstance(value, dict) else str(value)
        return said


def unknown_variables() -> list[str]:
    """Return variables of the environment that look like settings and are none, misspelt maybe."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def read_settings(**given: object) -> Settings:
    """Return the settings; what is None is not given. Raises InputError naming the setting and the fix."""
    wanted = {name: value for name, value in given.items() if value is not None}
    if SECRETS.is_dir():
        wanted["_secrets_dir"] = SECRETS
    try:
        return Settings(**wanted)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise InputError(f"the setting {PREFIX}{name.upper()} is wrong: {first['msg']}") from None
