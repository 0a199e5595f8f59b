"""Why the cutout service gave no cutout; one line each, without the address that was asked.

The tree::

    etl.errors.EtlError
    └── ServiceError               no cutout this time
        ├── WrongAnswerError       the answer is final: asking again would give the same
        └── PassingAnswerError     busy, broken or cut off: worth another attempt
"""

from etl.errors import EtlError


class ServiceError(EtlError):
    """The service gave no cutout."""


class WrongAnswerError(ServiceError):
    """An answer that asking again would not change."""


class PassingAnswerError(ServiceError):
    """No answer, or half of one: the next attempt may do better."""
