"""Checkpoints: the published ones and our own, from a folder or the Hugging Face Hub."""

from model.checkpoints.files import CONFIG, TOKENIZER, WEIGHTS
from model.checkpoints.loading import load, save
from model.checkpoints.official import PREFIXES, from_official, to_official
from model.checkpoints.reading import NANO, Checkpoint, load_tokenizer, read

__all__ = [
    "CONFIG",
    "NANO",
    "PREFIXES",
    "TOKENIZER",
    "WEIGHTS",
    "Checkpoint",
    "from_official",
    "load",
    "load_tokenizer",
    "read",
    "save",
    "to_official",
]
