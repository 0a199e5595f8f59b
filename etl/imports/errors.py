"""Errors that a user of the imports can cause.

The tree::

    etl.errors.EtlError
    └── ManifestError   an earlier manifest is refused; the message names the file and the reason
"""

from etl.errors import EtlError


class ManifestError(EtlError):
    """An earlier manifest is refused; the message names the file and the reason."""
