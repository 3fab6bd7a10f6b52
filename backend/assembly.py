"""The parts of a backend, put together once for each process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import model
from backend import pictures
from backend.connections import Connections
from backend.encoded_images import EncodedImages
from backend.engine import Engine
from backend.existing_ledger import LEDGER
from backend.ledger import Ledger
from backend.preannotate import Preannotator
from backend.settings import Settings
from backend.suggest import Suggester
from model import PAM, WordOptions
from model.language import DecodingOptions


@dataclass(frozen=True)
class Backend:
    """What answers requests, however they come in."""

    settings: Settings
    ledger: Ledger
    engine: Engine
    suggester: Suggester
    preannotator: Preannotator


def assemble(settings: Settings, load: Callable[[], PAM] | None = None) -> Backend:
    """Put the parts together and begin to load the model; returns at once.

    load: gives the model, instead of the one that the settings name. Raises LedgerError.
    """
    ledger = Ledger(settings.data_dir / LEDGER, settings.journal_bytes)
    engine = Engine(
        load
        or (lambda: model.load(settings.model, device=settings.device, dtype=settings.dtype, threads=settings.threads)),
        name="pam-nano" if settings.model == "nano" else settings.model,
        timeout=settings.predict_timeout,
        options=word_options(settings),
    )
    images = EncodedImages(
        lambda content: pictures.decode(content, settings.max_image_pixels), engine.encode, settings.cache_bytes
    )
    suggester = Suggester(settings, engine, images, ledger, Connections(settings, ledger))
    engine.start()
    return Backend(settings, ledger, engine, suggester, Preannotator(settings, engine, ledger, suggester))


def word_options(settings: Settings) -> WordOptions:
    """How the settings want regions to be described."""
    decoding = DecodingOptions(
        max_new_tokens=settings.max_new_tokens, temperature=settings.temperature, top_p=settings.top_p
    )
    return WordOptions(settings.language, settings.caption, decoding)
