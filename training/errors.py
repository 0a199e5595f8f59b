"""Errors that a user of training and scoring can cause.

The tree::

    TrainingError           anything else: a name that is taken, a model that another process trains
    ├── GateError           the cutouts were not validated, or the verdict is not GO
    ├── ManifestError       the manifest is empty or lacks a class, or a file of it is missing or altered
    ├── CheckpointError     a checkpoint or initial weights file is missing, corrupt or of another layout
    ├── PreprocessingError  the preprocessing or the cutouts' layout is not the model's
    ├── PackError           a pack is missing, truncated or altered, or holds other pixels than those asked for
    ├── SnapshotError       a snapshot is incomplete, altered, or cannot be written
    ├── RunError            a run folder is incomplete, altered, of another training, or cannot be written
    ├── ModelNotFoundError  no trained model of that name or number
    ├── CalibrationError    scores that cannot be calibrated: a class is absent, or a value is out of range
    ├── EnsembleError       models that cannot be combined: a control, no scores, another manifest
    └── CollapsedError      the run collapsed: constant scores, no skill, or NaN
"""

from db.errors import StronglensError


class TrainingError(StronglensError):
    """Base of the errors of `training`."""


class GateError(TrainingError):
    """The cutouts were never validated, changed since, or the verdict on them is NO-GO."""


class ManifestError(TrainingError):
    """The manifest is empty or lacks a class, or one of its files is missing or altered."""


class CheckpointError(TrainingError):
    """A checkpoint or a file of initial weights is missing, corrupt or of another layout."""


class PreprocessingError(TrainingError):
    """The preprocessing asked for, or the layout of the cutouts, is not the model's."""


class ModelNotFoundError(TrainingError):
    """No model of that name or number that can be used."""


class CalibrationError(TrainingError):
    """Scores cannot be calibrated: a class is absent, or a value is out of range."""


class EnsembleError(TrainingError):
    """Models that cannot be combined: a control, without scores, or of another manifest."""


class CollapsedError(TrainingError):
    """Training collapsed: constant scores, no skill on the validation split, or NaN."""


class PackError(TrainingError):
    """A pack is missing, truncated or altered, or holds other pixels than those asked for."""


class SnapshotError(TrainingError):
    """A snapshot is incomplete, altered, or cannot be written."""


class RunError(TrainingError):
    """A run folder is incomplete, altered, of another training, or cannot be written."""
