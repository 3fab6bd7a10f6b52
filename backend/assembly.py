"""The parts of a backend, put together once for each process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import model
from backend import pictures
from backend.connections import Connections
from backend.encoded_images import EncodedImages
from backend.engine import Engine
from backend.existing_ledger import LEDGER
from backend.jobs import JobQueue
from backend.ledger import Ledger
from backend.memory.picture_regions import PictureRegions
from backend.memory.reembedding import Reembedding
from backend.memory.seeing import Seeing
from backend.memory.video_regions import VideoRegions
from backend.models import registry_of
from backend.models.following import Following
from backend.preannotate import Preannotator
from backend.settings import Settings
from backend.suggest import Suggester
from model import PAM, WordOptions
from model.frames import FrameLimits
from model.language import DecodingOptions


@dataclass(frozen=True)
class Backend:
    """What answers requests, however they come in."""

    settings: Settings
    ledger: Ledger
    engine: Engine
    suggester: Suggester
    preannotator: Preannotator
    following: Following
    reembedding: Reembedding
    jobs: JobQueue

    def close(self) -> None:
        """End what goes on in the background, and close the files."""
        self.following.stop()
        self.reembedding.stop()
        self.suggester.videos.close()
        self.ledger.close()
        self.jobs.close()


def assemble(settings: Settings, load: Callable[[], PAM] | None = None, reembeds: bool = True) -> Backend:
    """Put the parts together and begin to load the model; returns at once.

    load: gives the model, instead of the one that the settings name. reembeds: whether the memory is shown to a model
    that has not seen it, where there is one. Raises LedgerError and JobsUnavailable.
    """
    ledger = Ledger(settings.data_dir / LEDGER, settings.journal_bytes)
    engine = Engine(
        name="pam-nano" if settings.model == "nano" else settings.model,
        timeout=settings.predict_timeout,
        options=word_options(settings),
    )
    images = EncodedImages(
        lambda content: pictures.decode(content, settings.max_image_pixels),
        engine.encode,
        settings.cache_bytes,
        engine.is_current,
    )
    studios = Connections(settings, ledger)
    suggester = Suggester(settings, engine, images, ledger, studios)
    reembedding = _reembedding(settings, ledger, engine, suggester, studios)

    def load_from(source: str | Path) -> PAM:
        return model.load(source, device=settings.device, dtype=settings.dtype, threads=settings.threads)

    def on_swap() -> None:
        images.drop_stale()
        if settings.memory and reembeds:
            reembedding.start()

    load_base = load or (lambda: load_from(settings.model))
    following = Following(registry_of(settings), engine, load_base, load_from, on_swap)
    following.start()
    preannotator = Preannotator(settings, engine, ledger, suggester)
    jobs = JobQueue(settings.data_dir)
    return Backend(settings, ledger, engine, suggester, preannotator, following, reembedding, jobs)


def _reembedding(
    settings: Settings, ledger: Ledger, engine: Engine, suggester: Suggester, studios: Connections
) -> Reembedding:
    seeing = Seeing(engine, suggester.memories)
    most = settings.max_image_pixels
    limits = pictures.FetchLimits(settings.max_image_bytes, settings.image_timeout)
    return Reembedding(
        ledger,
        suggester.memories,
        engine,
        PictureRegions(ledger, seeing, studios, limits, most),
        VideoRegions(ledger, seeing, studios, suggester.videos.files, FrameLimits(max_pixels=most)),
    )


def word_options(settings: Settings) -> WordOptions:
    """How the settings want regions to be described."""
    decoding = DecodingOptions(
        max_new_tokens=settings.max_new_tokens, temperature=settings.temperature, top_p=settings.top_p
    )
    return WordOptions(settings.language, settings.caption, decoding)
