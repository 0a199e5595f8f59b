"""Errors that a user of `stronglens crossmatch` can cause."""

from etl.errors import EtlError


class CrossmatchError(EtlError):
    """A list of positions cannot be read or matched as asked; the message names the file, column or row."""
