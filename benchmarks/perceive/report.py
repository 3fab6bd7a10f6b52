"""What was measured, as plain figures and as tables to read."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.perceive.measure import Peak, Run, spread

MIB = 1 << 20
NAMES = {"official": "official procedure", "studio": "PAM Studio"}


def summary(official: Sequence[Run], studio: Sequence[Run]) -> dict[str, Any]:
    """Median and quartiles of every figure, in seconds, and of the ratio official / studio of each round."""
    runs = {"official": [run.figures for run in official], "studio": [run.figures for run in studio]}
    names = list(runs["official"][0])
    answer = {side: {name: spread([f[name] for f in figures]) for name in names} for side, figures in runs.items()}
    answer["ratio"] = {
        name: spread([a[name] / b[name] for a, b in zip(*runs.values(), strict=True)])
        for name in names
        if all(figures[name] > 0 for figures in runs["studio"])
    }
    return answer


def agreement(one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> dict[str, Any]:
    """How far two sets of answers agree, token for token: the share that is equal, and where each first differs."""
    pairs = list(zip(one, other, strict=True))
    equal = sum(x == y for a, b in pairs for x, y in zip(a, b, strict=True))
    return {
        "equal": equal == sum(len(a) for a, _ in pairs),
        "share": equal / max(1, sum(len(a) for a, _ in pairs)),
        "first difference": [next((i for i, (x, y) in enumerate(zip(*p, strict=True)) if x != y), None) for p in pairs],
    }


def memory(official: Peak | None, studio: Peak | None) -> dict[str, Any] | None:
    """Peak bytes of both; None where they could not be measured."""
    if official is None or studio is None:
        return None
    sides = {"official": official, "studio": studio}
    answer: dict[str, Any] = {
        s: {"before": p.before, "peak": p.peak, "work": p.peak - p.before} for s, p in sides.items()
    }
    answer["ratio"] = official.peak / studio.peak
    return answer


def machine(device: torch.device) -> dict[str, Any]:
    """What it ran on."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }


def processor() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def tables(results: dict[str, Any]) -> str:
    """Everything in Markdown."""
    s, lines = results["settings"], []
    lines += [
        f"PAM {s['model']}, {s['dtype']}, {results['machine']['device']}, {results['machine']['threads']} thread(s); "
        f"{s['fields']} fields of {s['new_tokens']} tokens, {s['rounds']} rounds; median [quartiles]",
        "",
        "| milliseconds | official procedure | PAM Studio | ratio |",
        "|---|---|---|---|",
    ]
    figures = results["figures"]
    for name in figures["official"]:
        ratio = figures["ratio"].get(name)
        lines.append(
            f"| {name} | {_ms(figures['official'][name])} | {_ms(figures['studio'][name])} "
            f"| {_times(ratio) if ratio else '-'} |"
        )
    if (m := results["memory"]) is not None:
        sides = " | ".join(f"{m[s]['peak'] / MIB:.0f} MiB ({m[s]['work'] / MIB:+.0f})" for s in ("official", "studio"))
        lines.append(f"| peak memory (of it by the work) | {sides} | {m['ratio']:.2f}x |")
    second, regions, roof = results["second_click"], results["regions"], results["roofline"]
    lines += [
        "",
        f"second click on the same image, time to mask: {_ms(second['second'])} ms, the first took "
        f"{_ms(second['first'])} ms: {_times(second['ratio'])} sooner",
        f"{regions['count']} regions at once, all fields: {_ms(regions['together'])} ms, one by one "
        f"{_ms(regions['one_by_one'])} ms: {_times(regions['ratio'])} sooner",
        f"decoding reads {roof['bytes_per_step'] / MIB:.0f} MiB of weights a step; at {roof['bandwidth'] / 1e9:.1f} "
        f"GB/s that takes {1000 * roof['seconds_at_best']:.2f} ms; reached: "
        + ", ".join(f"{NAMES[side]} {100 * share:.0f}%" for side, share in roof["share"].items())
        + (f" ({roof['note']})" if roof["note"] else ""),
    ]
    for title, found in results["tokens"].items():
        at = ", ".join("-" if i is None else str(i) for i in found["first difference"][:8])
        verdict = "equal" if found["equal"] else f"{100 * found['share']:.1f}% equal, first difference at token {at}"
        lines.append(f"tokens, {title}: {verdict}")
    return "\n".join(lines)


def _ms(figure: dict[str, float]) -> str:
    digits = 2 if figure["median"] < 0.01 else 1 if figure["median"] < 1 else 0
    median, low, high = (f"{1000 * figure[k]:.{digits}f}" for k in ("median", "q1", "q3"))
    return f"{median} [{low}, {high}]"


def _times(figure: dict[str, float]) -> str:
    return f"{figure['median']:.1f}x [{figure['q1']:.1f}, {figure['q3']:.1f}]"
