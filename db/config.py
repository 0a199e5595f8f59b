"""Configuration of a stage: one YAML file, one strict model, one-line errors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from db.errors import ConfigError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""Names that a person gives to a draw, a scheme or a model; they stand in addresses of files too."""


class StageConfig(BaseModel):
    """Base of every stage's configuration: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Config = TypeVar("Config", bound=StageConfig)


def load_config(cls: type[Config], path: Path | None, **overrides: object) -> Config:
    """Read ``path`` (YAML; None means defaults only) and lay the overrides that are not None over it.

    Raises
    ------
    ConfigError
        When the file is missing, is not a YAML mapping, or has a key or value that ``cls`` refuses.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return cls(**(_read_yaml(path) | given))
    except ValidationError as exc:
        source = str(path) if path is not None else f"configuration {cls.__name__}"
        problems = "; ".join(_describe(cls, error) for error in exc.errors(include_url=False))
        raise ConfigError(f"{source}: {problems}") from exc


def _read_yaml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    # The parser takes a tenth of a second to import; every command imports this module.
    import yaml

    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        reason = os.strerror(exc.errno or 0)
        raise ConfigError(f"{path}: cannot be read ({reason}); give a YAML file") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(exc).split())}") from exc
    if body is None:
        return {}
    if not isinstance(body, dict) or not all(isinstance(key, str) for key in body):
        raise ConfigError(f"{path}: holds a {type(body).__name__}, expected a mapping of names to values")
    return body


def _describe(cls: type[BaseModel], error: ErrorDetails) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        allowed = ", ".join(_fields_beside(cls, error["loc"]))
        return f"unknown key '{key}' (allowed: {allowed})"
    if error["type"] == "missing":
        return f"missing key '{key}'"
    message = " ".join(error["msg"].split())
    return f"key '{key}' is {error['input']!r}: {message}" if key else message


def _fields_beside(cls: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names that the model holding ``location`` accepts, following nested models as far as they are plain."""
    model = cls
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        nested = field.annotation if field is not None else None
        if not isinstance(nested, type) or not issubclass(nested, BaseModel):
            break
        model = nested
    return list(model.model_fields)
