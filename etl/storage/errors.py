"""What can be wrong with one object of a store; where the store itself is at fault it is a plain `StorageError`.

The tree::

    StorageError
    ├── AbsentError    there is no such object
    └── DamagedError   an object does not give the bytes that the database recorded
"""

from typing import Literal

from etl.errors import StorageError

Damage = Literal["truncated", "altered", "unreadable"]


class AbsentError(StorageError):
    """There is no such object."""


class DamagedError(StorageError):
    """An object does not give the bytes that the database recorded; `damage` says in which way."""

    def __init__(self, message: str, damage: Damage) -> None:
        super().__init__(message)
        self.damage: Damage = damage
