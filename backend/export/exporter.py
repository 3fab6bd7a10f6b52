"""Corrections out of the ledger and into files, one task at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from backend import labeling_config
from backend.annotations import CorrectedRegion, LeftOut, corrected_regions
from backend.errors import PictureError
from backend.export.coco import CocoWriter
from backend.export.images import ImageStore, StoredImage
from backend.export.pam_jsonl import PamWriter
from backend.export.report import ExportReport
from backend.export.writer import replacing
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger
from backend.reconcile import Progress, TaskSource, reconcile
from backend.webhook_event import Annotation

FetchImage = Callable[[str, int], bytes]
"""Image address and task id to the bytes of the image file; raises PictureError where it cannot be had."""


def export(
    project_id: int,
    out: Path,
    ledger: Ledger,
    studio: TaskSource,
    fetch_image: FetchImage,
    progress: Progress | None = None,
    *,
    max_pixels: int,
) -> ExportReport:
    """Write what the annotators of a project corrected to the folder `out`, in place of what was exported there before.

    The folder holds PAM's training records with their `datasets.yaml`, `coco.json`, `images/` and `manifest.json`.
    A region or an image that cannot be had, or has more than `max_pixels`, is left out and reported. Raises
    LabelStudioError, LedgerError, ConfigError or ExportError when there can be no export; what was in `out` is then
    untouched.
    """
    project = studio.project(project_id)
    config = labeling_config.parse(project.get("label_config") or "")
    with replacing(out) as folder:
        reconcile(project_id, ledger, studio, progress)
        # Where an image cannot be had, asking again for the project tells a lost file from a lost Label Studio.
        run = _Run(folder, config, ledger, fetch_image, lambda: studio.project(project_id), max_pixels)
        with closing(run.pam), closing(run.coco):
            for done, annotations in enumerate(ledger.annotations_by_task(project_id), start=1):
                run.add_task(annotations)
                if progress is not None:
                    progress("writing regions", done)
        report = run.report(project_id, str(project.get("title") or ""), out)
        (folder / "manifest.json").write_text(json.dumps(report.manifest(), indent=2) + "\n")
    return report


class _Run:
    """One export on its way: the writers, and the counts that become the report."""

    def __init__(
        self,
        folder: Path,
        config: LabelingConfig,
        ledger: Ledger,
        fetch_image: FetchImage,
        check_studio: Callable[[], object],
        max_pixels: int,
    ):
        self.pam = PamWriter(folder)
        self.coco = CocoWriter(folder)
        self._images = ImageStore(folder, max_pixels)
        self._config = config
        self._ledger = ledger
        self._fetch_image = fetch_image
        self._check_studio = check_studio
        self._max_pixels = max_pixels
        self._counts: Counter[str] = Counter()
        self._model_versions: Counter[str] = Counter()
        self._left_out: list[LeftOut] = []

    def add_task(self, annotations: list[Annotation]) -> None:
        """Write the regions of one task's annotations."""
        self._counts["cancelled"] += sum(a.was_cancelled for a in annotations)
        images: dict[str, StoredImage | None] = {}
        sources = set()
        for annotation in (a for a in annotations if not a.was_cancelled):
            for region, image in self._regions(annotation, images):
                self._write(region, image)
                sources.add(annotation.id)
        self._counts["annotations"] += len(sources)
        self._counts["tasks"] += bool(sources)

    def report(self, project_id: int, title: str, out: Path) -> ExportReport:
        return ExportReport(
            project_id=project_id,
            title=title,
            out=out,
            tasks=self._counts["tasks"],
            annotations=self._counts["annotations"],
            regions=self._counts["regions"],
            images=len(self._images),
            cancelled=self._counts["cancelled"],
            records=dict(self.pam.records),
            model_versions=dict(self._model_versions),
            left_out=tuple(self._left_out),
        )

    def _regions(
        self, annotation: Annotation, images: dict[str, StoredImage | None]
    ) -> Iterator[tuple[CorrectedRegion, StoredImage]]:
        """The regions that can be written, each with its image; what cannot is noted. images: of this task so far."""
        for region in corrected_regions(annotation, self._config, self._ledger.suggestion, self._max_pixels):
            if isinstance(region, LeftOut):
                self._left_out.append(region)
                continue
            address = region.image_address
            if address not in images:
                images[address] = self._image(address, region.task_id)
            image = images[address]
            if image is None:
                continue
            if (image.height, image.width) != region.mask.shape:
                height, width = region.mask.shape
                reason = f"it was drawn on {width} x {height} pixels, but the image has {image.width} x {image.height}"
                self._left_out.append(LeftOut(region.task_id, reason, region.annotation_id, region.region_id))
                continue
            yield region, image

    def _image(self, address: str, task_id: int) -> StoredImage | None:
        try:
            return self._images.add(self._fetch_image(address, task_id))
        except PictureError as error:
            self._check_studio()
            self._left_out.append(LeftOut(task_id, error.message))
            return None

    def _write(self, region: CorrectedRegion, image: StoredImage) -> None:
        self.pam.add(region, image)
        self.coco.add(region, image)
        self._counts["regions"] += 1
        if region.words["explanation"] and not region.words["category"]:
            reason = "its explanation has no category to go with it: it is in coco.json only"
            self._left_out.append(LeftOut(region.task_id, reason, region.annotation_id, region.region_id))
        if region.model_version is not None:
            self._model_versions[region.model_version] += 1
