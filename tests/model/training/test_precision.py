"""A training multiplies in bfloat16 only where that is fast: emulated, it takes fifty times as long as float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from model.training.finetune import run
from model.training.finetune.run import Options
from model.training.precision import fast_dtype


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bool]], None]:
    """A machine without a GPU whose processor has these features."""

    def has(features: dict[str, bool]) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    return has


@pytest.mark.parametrize(
    ("features", "dtype"),
    [
        ({"avx2": True}, torch.float32),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx2": True, "avx512_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "amx_bf16": True}, torch.bfloat16),
        ({"neon": True, "bf16": True}, torch.float32),
    ],
)
def test_the_processor_decides(processor: Callable, features: dict[str, bool], dtype: torch.dtype):
    """Of laptops most end at AVX2; what was not measured is float32, which is never slow."""
    processor(features)
    assert fast_dtype(torch.device("cpu")) == dtype
    half = dtype == torch.bfloat16
    for precision, mixed in (("auto", half), ("float32", False), ("bfloat16", True)):
        options = Options("data", "nano", "out", device="cpu", precision=precision)  # type: ignore[arg-type]
        assert run._accelerator(options).mixed_precision == ("bf16" if mixed else "no")


@pytest.mark.parametrize("supported", [True, False])
def test_the_gpu_decides(monkeypatch: pytest.MonkeyPatch, supported: bool):
    """Emulated on old ones, too."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert fast_dtype(torch.device("cuda")) == (torch.bfloat16 if supported else torch.float32)


def test_this_processor_is_asked():
    """PyTorch knows the features by these names."""
    features = torch.cpu.get_capabilities()
    if features["architecture"] == "x86_64":
        assert {"avx512_bf16", "amx_bf16"} <= features.keys()
