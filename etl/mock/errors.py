"""Errors that a user of the mock sky can cause.

The tree::

    etl.errors.EtlError
    └── MockSkyError   an output folder, a configuration or a list of candidates that cannot be used
"""

from etl.errors import EtlError


class MockSkyError(EtlError):
    """The mock sky cannot be rendered as asked; the message names the input and the remedy."""
