"""Errors that a user can cause, apart from faults of ours.

The tree::

    StronglensError            root of every package's errors; the command line prints it as one line
    └── DbError                anything about the database
        ├── ConfigError        a configuration file or variable is wrong
        ├── ServerError        the server is absent, unreachable or unfit
        ├── SchemaError        the schema's revision is not the one this code knows
        ├── BootstrapError     a superuser's preparation is missing
        ├── MissingInputError  a stage was run before its inputs exist
        ├── BusyError          another process is at the same work
        └── DuplicateKeyError  rows that were loaded without a key turn out to share one
"""


class StronglensError(Exception):
    """Root of all errors whose message alone tells a user what to do."""


class DbError(StronglensError):
    """Base of the errors of `db`."""


class ConfigError(DbError):
    """A configuration file or environment variable is wrong."""


class ServerError(DbError):
    """The database server is absent, unreachable, too old or lacks an extension."""


class SchemaError(DbError):
    """The schema is not at the revision that this code knows."""


class BootstrapError(DbError):
    """A preparation that needs a superuser has not been done."""


class MissingInputError(DbError):
    """A stage was run before the rows that it reads exist."""


class BusyError(DbError):
    """Another process is at the same work."""


class DuplicateKeyError(DbError):
    """Rows that were loaded before their table had a key share one."""
