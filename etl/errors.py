"""Errors that a user of the ETL stages can cause.

The tree::

    EtlError
    ├── CatalogFileError   a published table is missing, unreadable or lacks columns
    ├── SweepFileError     a sweep file is refused; the message names file and reason
    ├── LoadError          a load of sweep files stopped before its end
    ├── StorageError       an object store or folder refuses or lacks an object (more in etl/storage/errors.py)
    ├── CoaddError         a brick's images are missing or inconsistent
    ├── CutoutError        a cutout file does not have the declared layout
    ├── SamplingError      a draw or split request that cannot be met as asked
    └── in the rooms of their stages: MockSkyError, ManifestError (imports), CrossmatchError, EmrError
"""

from db.errors import StronglensError


class EtlError(StronglensError):
    """Base of the errors of `etl`."""


class CatalogFileError(EtlError):
    """A published table is missing, unreadable or lacks columns."""


class SweepFileError(EtlError):
    """A sweep file is refused; the message names the file and the reason."""


class StorageError(EtlError):
    """An object store or folder refuses or lacks an object."""


class CoaddError(EtlError):
    """A brick's images are missing or inconsistent."""


class CutoutError(EtlError):
    """A cutout file does not have the declared layout."""


class SamplingError(EtlError):
    """A draw or split request that cannot be met as asked."""


class LoadError(EtlError):
    """A load of sweep files stopped before its end."""
