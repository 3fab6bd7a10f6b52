"""The backend as a process: gunicorn, one worker, several threads, one model."""

from __future__ import annotations

import logging

from flask import Flask
from gunicorn.app.base import BaseApplication

from backend.app import create_app
from backend.assembly import assemble
from backend.dataset.every import Exports
from backend.existing_ledger import LEDGER
from backend.jobs import JobQueue
from backend.jobs.runner import Runner
from backend.jobs.start import Schedule
from backend.ledger import Ledger
from backend.settings import Settings

THREADS = 8
"""Requests in hand at once; the model takes them one at a time, the others fetch images or wait."""
TIMEOUT_SECONDS = 120
"""Beyond what Label Studio waits for an answer (100 s)."""


class Server(BaseApplication):
    """Gunicorn with our settings instead of its own command line."""

    def __init__(self, settings: Settings):
        self.settings = settings
        super().__init__()

    def load_config(self) -> None:
        host = self.settings.host
        options = {
            "bind": f"[{host}]:{self.settings.port}" if ":" in host else f"{host}:{self.settings.port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "timeout": TIMEOUT_SECONDS,
            "graceful_timeout": 10,
            "proc_name": "pam-studio",
            "control_socket_disable": True,
            "loglevel": self.settings.log_level.lower(),
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        # In the worker, after the fork: threads and SQLite connections do not survive one.
        if self.settings.every:
            Exports(self.settings).start()
        backend = assemble(self.settings)
        Runner(self.settings, backend.jobs).start()
        if self.settings.train_every or self.settings.train_at:
            Schedule(self.settings, backend.jobs, backend.ledger).start()
        return create_app(backend)


def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises LedgerError or JobsUnavailable when the data folder cannot be used."""
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if settings.label_studio_api_key and not settings.label_studio_url:
        logging.getLogger(__name__).warning("LABEL_STUDIO_API_KEY is set without LABEL_STUDIO_URL, so it is not used")
    # Tried here, where an error is one sentence, and not only in the worker, where it is a traceback and a restart.
    Ledger(settings.data_dir / LEDGER).close()
    JobQueue(settings.data_dir).close()
    Server(settings).run()
