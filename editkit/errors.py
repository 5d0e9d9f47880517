"""Every error that editkit raises on purpose.

A message says what was wrong, what was got and what to do about it. Commands print it in one line and exit 2
(wrong use) or 1 (something failed); see ``EditkitError.exit_code``.
"""


class EditkitError(Exception):
    """Base of all errors raised on purpose. ``exit_code`` is what a command exits with."""

    exit_code = 1


class UsageError(EditkitError):
    """Options that do not go together, or a value outside its range."""

    exit_code = 2


class PhotoError(EditkitError):
    """A picture that cannot be read: missing, empty, truncated, not a picture, or too large."""


class NoFaceError(PhotoError):
    """No face was found where the crop convention needs one."""


class FaceIndexError(NoFaceError):
    """A face was asked for by an index that the photo does not have: wrong use, where other missing faces are not."""

    exit_code = 2


class CheckpointError(EditkitError):
    """A weights file that is damaged, of an unknown kind, or does not fit the network it claims to be."""


class UnsafeCheckpointError(CheckpointError):
    """A pickle that asks for something outside the allow-list, or claims impossible sizes."""


class SchemaError(EditkitError):
    """A file written by a newer editkit, or one without a readable schema number."""


class GeneratorMismatchError(EditkitError):
    """A latent, direction or delta used with a generator it was not made for."""


class LatentError(EditkitError):
    """A latent code of the wrong space, shape or content."""


class RecipeError(EditkitError):
    """A recipe that cannot be read or resolved."""


class DirectionError(EditkitError):
    """A direction that is unknown, of the wrong shape, or cannot be computed."""


class OutputError(EditkitError):
    """Nothing could be written: no permission, no space, or not a folder."""


class MemoryBudgetError(EditkitError):
    """A network or job that would not fit into the memory at hand."""


class DeviceError(EditkitError):
    """A device that is unknown or absent."""


class MissingWeightsError(EditkitError):
    """Optional weights that are not on this machine; the message says which file goes where."""


class TrainingDataError(EditkitError):
    """A data set that cannot be trained on."""
