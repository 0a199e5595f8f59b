"""Where the database's password is kept when its URL has none: a file, or AWS Secrets Manager.

No message and no representation of an error shows what was read.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from db.errors import ConfigError
from db.settings import settings

FILE_VARIABLE = "STRONGLENS_DATABASE_PASSWORD_FILE"
SECRET_VARIABLE = "STRONGLENS_DATABASE_SECRET"  # noqa: S105 - the name of a variable
_REGION_OF_ARN = re.compile(r"arn:aws[\w-]*:secretsmanager:([\w-]+):")


def stored_password() -> str | None:
    """Read the password from the file or the secret that the environment names; None when it names neither.

    Raises
    ------
    ConfigError
        When what is named cannot be read or holds no password.
    """
    here = settings()
    if here.database_password_file is not None:
        return _from_file(here.database_password_file.expanduser())
    if here.database_secret is not None:
        return _from_secret(here.database_secret)
    return None


def _from_file(path: Path) -> str:
    try:
        password = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as exc:
        reason = os.strerror(exc.errno or 0)
        raise ConfigError(f"{FILE_VARIABLE}: {path} cannot be read ({reason}); give a file with one line") from exc
    except UnicodeDecodeError:
        # The cause would show the bytes.
        raise ConfigError(f"{FILE_VARIABLE}: {path} is not text; give a file with one line") from None
    if not password or len(password.splitlines()) > 1:
        what = "several lines" if password else "no password"
        raise ConfigError(f"{FILE_VARIABLE}: {path} holds {what}; give a file with one line")
    return password


def _from_secret(name: str) -> str:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    match = _REGION_OF_ARN.match(name)
    try:
        with _unlogged():
            client = boto3.client("secretsmanager", region_name=match[1] if match else None)
            body = client.get_secret_value(SecretId=name).get("SecretString", "")
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "unknown")
        fix = "check its name, its region and secretsmanager:GetSecretValue of these credentials"
        raise ConfigError(f"{SECRET_VARIABLE}: secret {name} cannot be read ({code}); {fix}") from exc
    except (BotoCoreError, ValueError) as exc:
        raise ConfigError(f"{SECRET_VARIABLE}: secret {name} cannot be read: {' '.join(str(exc).split())}") from exc
    password = _password_in(body)
    if not password:
        expected = 'plain text, or JSON with the key "password"'
        raise ConfigError(f"{SECRET_VARIABLE}: secret {name} holds no password; expected {expected}")
    return password


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep botocore from logging the answer, which it does where debugging is on."""
    logger = logging.getLogger("botocore")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _password_in(body: str) -> str | None:
    """Return the password of a secret: the value of "password" in a JSON object, else all of it."""
    try:
        content = json.loads(body)
    except ValueError:
        return body.strip()
    if not isinstance(content, dict):  # a password of digits is JSON, too
        return body.strip()
    password = content.get("password")
    return password if isinstance(password, str) else None
