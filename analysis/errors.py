"""Errors that a user of the analysis can cause.

The tree::

    AnalysisError
    └── NoScoresError   a model has no scores where the evaluation needs them
"""

from db.errors import StronglensError


class AnalysisError(StronglensError):
    """Base of the errors of `analysis`."""


class NoScoresError(AnalysisError):
    """A model has no scores where the evaluation needs them."""
