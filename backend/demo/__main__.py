"""The command line of the demo: `python -m backend.demo`."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from backend.demo.running import Demo, running
from backend.demo.servers import DemoError
from backend.demo.studio import EMAIL, PASSWORD, TITLE

READY = """
{title} is ready:  {url}/projects/{project}/data
  login {email}   password {password}

  1. Open a photograph. If Auto-Annotation, below it, is off, switch it on and press the last tool of the bar, once.
  2. Press 1, for the label, and click an object. 1 and a click add to it, 1 and Alt+click take away.
  3. Accept it (the tick), select it, mend words and mask, press Submit. Both switches stay on for the next photograph.

  PAM Studio  {backend}   Logs  {logs}
  Ctrl-C stops both; the work stays in {data_dir}.
"""


def demo(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Label Studio.")] = 8080,
    backend_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of PAM Studio.")] = 9090,
    data_dir: Annotated[Path, typer.Option(help="Folder that keeps the work, the logs and the token.")] = Path("data"),
) -> None:
    """Start Label Studio and PAM Studio with a project of photographs, until Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job would not have
    try:
        with running(data_dir, port, backend_port, _say) as started:
            _say(_ready(started, data_dir))
            while True:
                time.sleep(0.5)
                started.check_alive()
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _say("\ndemo: both are stopped")


def _ready(started: Demo, data_dir: Path) -> str:
    return READY.format(
        title=TITLE,
        url=started.label_studio.url,
        project=started.project,
        email=EMAIL,
        password=PASSWORD,
        backend=started.backend.url,
        logs=f"{data_dir}/logs/",
        data_dir=data_dir,
    )


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    typer.run(demo)
