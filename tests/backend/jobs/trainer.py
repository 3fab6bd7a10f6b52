"""What stands for `pam-studio train` until a test needs the real one: counts steps, resumes, ends when asked."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("data", "base", "out", "device", "threads"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--refuse")
    given = parser.parse_args()
    if given.refuse:
        print(f"pam-studio: {given.refuse}", file=sys.stderr)
        return 2
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "pid").write_text(str(os.getpid()))
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    path = out / "state.json"
    state = json.loads(path.read_text()) if path.is_file() else {"step": 0, "digest": Path(given.data).name}
    while state["step"] < given.steps:
        time.sleep(0.02)
        step = state["step"] + 1
        state = {"step": step, "digest": hashlib.sha256(f"{state['digest']} {step}".encode()).hexdigest()[:16]}
        replace(path, state)
        replace(out / "progress.json", {"step": step, "steps": given.steps, "stage": "training", "seconds_left": 1.5})
        if asked:
            return 130
    print("trained")
    replace(out / "report.json", state)
    return 0


def replace(path: Path, content: dict) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content))
    os.replace(draft, path)


if __name__ == "__main__":
    sys.exit(main())
