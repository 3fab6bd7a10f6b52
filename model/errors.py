"""The exceptions that `model` raises on purpose."""


class ModelError(Exception):
    """Base of every error that `model` raises on purpose."""


class PromptError(ModelError):
    """A prompt that cannot be answered: empty, malformed or outside the image."""


class CheckpointError(ModelError):
    """A checkpoint that is missing, damaged or made for another configuration."""


class ImageError(ModelError):
    """An array that is not an RGB image."""
