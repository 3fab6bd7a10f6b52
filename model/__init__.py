"""PAM, the Perceive Anything Model: a click on an image becomes a mask and words.

Knows nothing of Label Studio or HTTP.
"""

import importlib.util
import sys

if importlib.util.find_spec("torchvision") is not None:
    # sam2 pulls in a torchvision that is linked to CUDA; beside a CPU build of torch its import raises, and
    # transformers imports it whenever it is installed. PAM uses nothing of it: one that does not import is absent.
    try:
        import torchvision  # noqa: F401
    except (RuntimeError, ImportError, OSError):
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules["torchvision"] = None  # type: ignore[assignment]

from model.checkpoints import load
from model.errors import CheckpointError, ImageError, ModelError, PromptError
from model.pam import PAM
from model.prompt import Box, Point, Prompt
from model.region import FIELDS, Region, Words
from model.segmentation import EncodedImage, Segmentation
from model.speaker import WordOptions

__all__ = [
    "FIELDS",
    "PAM",
    "Box",
    "CheckpointError",
    "EncodedImage",
    "ImageError",
    "ModelError",
    "Point",
    "Prompt",
    "PromptError",
    "Region",
    "Segmentation",
    "WordOptions",
    "Words",
    "load",
]
