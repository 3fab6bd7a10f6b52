"""The exceptions that `model` raises on purpose."""


class ModelError(Exception):
    """Base of every error that `model` raises on purpose."""


class PromptError(ModelError):
    """A prompt that cannot be answered: empty, malformed or outside the image."""


class CheckpointError(ModelError):
    """A checkpoint that is missing, damaged or made for another configuration."""


class ImageError(ModelError):
    """An array that is not an RGB image."""


class QuestionError(ModelError):
    """A question that PAM cannot be asked: no such field or language, or free text that is not plain words."""


class LabelError(ModelError):
    """A list of labels that no category can be chosen from."""


class TrackError(ModelError):
    """A video or clip that cannot be followed: no frames, or no prompted frame yet."""


class VideoError(ModelError):
    """A video, folder of frames or stream that cannot be read: truncated, without pictures, too large, or lost."""


class RecordError(ModelError):
    """A training record that cannot be learned from."""


class TrainingError(ModelError):
    """A training run that cannot begin, or cannot go on."""
