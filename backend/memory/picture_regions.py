"""The remembered regions of pictures, for a model that has not seen them: from the ledger and the picture's file."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from backend import pictures
from backend.annotations import CorrectedRegion, corrected_regions
from backend.connections import Connections
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger
from backend.memory.seeing import Seeing
from model import EncodedImage, Prompt
from model.everything import deepest


class PictureRegions:
    """Shows the corrected masks of a task's pictures."""

    def __init__(
        self, ledger: Ledger, seeing: Seeing, studios: Connections, limits: pictures.FetchLimits, max_pixels: int
    ):
        self._ledger, self._seeing = ledger, seeing
        self._studios, self._limits, self._max_pixels = studios, limits, max_pixels

    def see(self, project_id: int, task_id: int, config: LabelingConfig, wanted: Collection[str]) -> None:
        """See the regions `wanted`, by their ids; those that have no mask of the picture's size are passed over.

        Raises BackendError and ModelError where the picture cannot be had or seen.
        """
        by_image: dict[str, dict[str, CorrectedRegion]] = {}
        for region in self._regions(project_id, task_id, config):
            if region.region_id in wanted:
                by_image.setdefault(region.image_address, {})[region.region_id] = region
        for address, regions in by_image.items():
            image = self._encode(address, project_id, task_id)
            fitting = [each for each in regions.values() if each.mask.shape == (image.height, image.width)]
            self._seeing.see(project_id, task_id, image, [(each.region_id, _prompt(each)) for each in fitting])

    def _regions(self, project_id: int, task_id: int, config: LabelingConfig) -> Iterator[CorrectedRegion]:
        suggestions = {each.region_id: each for each in self._ledger.suggestions_of_task(project_id, task_id)}
        for annotation in self._ledger.annotations_of_task(project_id, task_id):
            for region in corrected_regions(annotation, config, suggestions.get, self._max_pixels):
                if isinstance(region, CorrectedRegion):
                    yield region

    def _encode(self, address: str, project_id: int, task_id: int) -> EncodedImage:
        content = pictures.fetch(address, task_id, self._studios.of(project_id), self._limits)
        return self._seeing.encode(pictures.decode(content, self._max_pixels))


def _prompt(region: CorrectedRegion) -> Prompt:
    """The clicks of a region; for one that was drawn by hand the one that most would choose, so that it looks alike."""
    points = region.points if region.points or region.box else (deepest(region.mask),)
    return Prompt(points, region.box, region.mask)
