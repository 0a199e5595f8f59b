"""Errors that a user of the analysis can cause.

The tree::

    AnalysisError
    ├── CrossValidationError   a cross-validation of this name is there, with other rules
    ├── NoScoresError          a model has no scores where the evaluation needs them
    ├── PublishedFileError     a file of published results is absent, damaged, or lacks what is needed of it
    ├── ReasonMissingError     the test split was asked for without a reason
    └── WriteUpError           the write-up of an experiment cannot be written
"""

from db.errors import StronglensError


class AnalysisError(StronglensError):
    """Base of the errors of `analysis`."""


class CrossValidationError(AnalysisError):
    """A cross-validation of this name is there, with other rules."""


class NoScoresError(AnalysisError):
    """A model has no scores where the evaluation needs them."""


class PublishedFileError(AnalysisError):
    """A file of published results is absent, damaged, or lacks what is needed of it."""


class ReasonMissingError(AnalysisError):
    """The test split was asked for without a reason."""


class WriteUpError(AnalysisError):
    """The write-up of an experiment cannot be written."""
