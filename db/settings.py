"""What the environment says: where the database, the working files and the object store are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parent.parent


def _store_below_home(validated: dict[str, Any]) -> str:
    home = validated.get("home")
    return str(home / "store") if home else ""


class Settings(BaseSettings):
    """Environment variables with the prefix ``STRONGLENS_``; an empty one counts as unset."""

    model_config = SettingsConfigDict(env_prefix="STRONGLENS_", env_ignore_empty=True, frozen=True)

    database_url: str | None = None
    database_password_file: Path | None = None
    database_secret: str | None = None
    home: Path = CHECKOUT / ".stronglens"
    store: str = Field(default_factory=_store_below_home)
    s3_endpoint_url: str | None = None

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().resolve()


def settings() -> Settings:
    """Read the environment now.

    Raises
    ------
    ConfigError
        When a variable cannot be understood.
    """
    try:
        return Settings()
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        name = "STRONGLENS_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"environment variable {name}: {first['msg']}") from exc
