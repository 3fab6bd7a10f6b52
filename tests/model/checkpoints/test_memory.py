"""Loading holds the weights once, and of their files no more than a window."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.checkpoints import CONFIG, NANO, TOKENIZER, WEIGHTS, load_tokenizer, native, to_official
from model.checkpoints.loading import parameters_on_meta
from model.config import PAMConfig, SamConfig
from model.pam import PAM

LANGUAGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 20000,
    "tie_word_embeddings": True,
}

MEASURE = """
import gc
import sys
import model
from model.checkpoints import tensors

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))

def load():
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    model.load(sys.argv[1], dtype="float16", threads=1)
    return peak()

model.load("nano")
before = peak()
print(load() - before)
tensors.WINDOW = 1 << 50
print(load() - before)
"""


@pytest.fixture
def half_a_gigabyte(tmp_path: Path) -> Path:
    """A checkpoint in the published layout whose weights are all zero: a file of holes, which takes no disk."""
    config = PAMConfig("zeros", SamConfig("sam2.1_hiera_t"), language=LANGUAGE)
    with parameters_on_meta():
        state = PAM(config, load_tokenizer(NANO / TOKENIZER)).state_dict()
    shapes = {to_official(name): tuple(tensor.shape) for name, tensor in state.items() if "lm_head" not in name}
    with (tmp_path / WEIGHTS).open("wb") as file:
        places = native._header(file, shapes, torch.float16)
        file.truncate(max(place + torch.Size(shapes[name]).numel() * 2 for name, place in places.items()))
    (tmp_path / CONFIG).write_text(json.dumps({**LANGUAGE, "mm_vision_tower": "sam2.1_hiera_t"}))
    shutil.copy(NANO / TOKENIZER, tmp_path)
    return tmp_path


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process its own peak")
def test_weights_are_never_twice_in_memory(half_a_gigabyte: Path):
    """The peak is the weights and a window; mapping the file as a whole, the control, would double it."""
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, half_a_gigabyte], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    windowed, mapped = map(int, result.stdout.split())
    size = (half_a_gigabyte / WEIGHTS).stat().st_size
    assert windowed < 1.5 * size
    assert mapped > 1.8 * size
