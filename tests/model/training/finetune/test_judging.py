"""What a training cost of what the model knew before is seen, on scenes and on clips that nobody corrected."""

from __future__ import annotations

import copy

import numpy as np

from model import PAM
from model.training.finetune.judging import CLIPS, METRICS, verdict


def share(found: dict, field: str) -> float:
    return float(np.mean([value for value in found[field] if value is not None]))


def test_forgotten_words_show_on_scenes_and_on_clips(nano: PAM):
    """Of nano itself most is right; of one whose tokens were spoilt, hardly anything, while its masks are as they were.

    Each scene is told of as it is done.
    """
    spoilt, done = copy.deepcopy(nano), []
    for projector in (spoilt.image_projector, spoilt.semantic_projector):
        for weights in projector.parameters():
            weights.zero_()
    before = verdict(nano, [], 12, 4, lambda: done.append(1)).old
    after = verdict(spoilt, [], 12, 4, lambda: done.append(1)).old
    assert list(before) == list(after) == [*METRICS, CLIPS] and len(done) == 24
    assert all(len(before[field]) == len(after[field]) for field in before)
    assert before["mask"] == after["mask"]
    for field in ("category", "caption", CLIPS):
        assert share(before, field) >= share(after, field) + 0.3, field
