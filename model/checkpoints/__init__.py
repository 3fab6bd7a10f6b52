"""Checkpoints: the published ones and our own, from a folder or the Hugging Face Hub."""

from model.checkpoints.files import CONFIG, TOKENIZER, WEIGHTS
from model.checkpoints.inspection import Part, Verdict, convert, fingerprint, parts, verify
from model.checkpoints.loading import DTYPES, load, save
from model.checkpoints.official import PREFIXES, from_official, to_official
from model.checkpoints.reading import NANO, Checkpoint, load_tokenizer, read

__all__ = [
    "CONFIG",
    "DTYPES",
    "NANO",
    "PREFIXES",
    "TOKENIZER",
    "WEIGHTS",
    "Checkpoint",
    "Part",
    "Verdict",
    "convert",
    "fingerprint",
    "from_official",
    "load",
    "load_tokenizer",
    "parts",
    "read",
    "save",
    "to_official",
    "verify",
]
