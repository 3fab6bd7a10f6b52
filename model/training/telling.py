"""Stage four: the language side learns to tell what happens in a clip, and keeps what it says of a picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from model import close_up
from model.fields import QUESTIONS, TASK_OF_FIELD, video_question
from model.pam import PAM
from model.perceiver import FULL, QUARTER
from model.region import FIELDS
from model.training.clip_data import ClipBatch, Telling
from model.training.conversation import Sample, answers_alone, tokenise
from model.training.data import SceneBatch
from model.training.segmentation import run_sam
from model.training.words import answer, sentence_losses, taught


class ClipStage(nn.Module):
    """What stage four trains: projectors, newlines and language model; SAM 2 and perceiver see as they do."""

    def __init__(self, pam: PAM):
        super().__init__()
        self._pam = (pam,)
        self.language = pam.language.train().requires_grad_(True)
        self.image_projector, self.semantic_projector = pam.image_projector, pam.semantic_projector
        self.outline_projector, self.trajectory_projector = pam.outline_projector, pam.trajectory_projector
        self.newlines = nn.ParameterList([pam.image_newline, pam.semantic_newline, pam.frame_newline])

    def forward(self, batch: ClipBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, all questions for each clip and each thing of a still scene, and what to show of it."""
        pam = self._pam[0]
        told, shown = sentence_losses(pam, self._clips(batch), [spoken(pam.tokenizer, each) for each in batch.tellings])
        things = [taught(pam.tokenizer, facts) for facts in batch.stills.facts]
        kept, still = sentence_losses(pam, self._stills(batch.stills), things)
        figures = {f"clip {name}": value for name, value in shown.items()} | still
        return told + kept, figures

    def _clips(self, batch: ClipBatch) -> list[Tensor]:
        """What stands for each clip: float (V_i, hidden)."""
        pam = self._pam[0]
        with torch.no_grad():
            whole = close_up.decode(pam.sam, batch.pixels, batch.rough)
            far = pam.perceiver(whole.image, whole.tokens, QUARTER)
            near = self._near(batch.close, batch.close_rough)
        frames, close = pam.as_frame(far), pam.as_frame((*near, batch.outlines))
        ways = pam.trajectory_projector(batch.trajectories)[:, None]
        return [
            torch.cat([close[each.close], *frames[list(each.frames)], *([way] if len(each.frames) > 1 else [])])
            for each, way in zip(batch.tellings, ways, strict=True)
        ]

    def _stills(self, batch: SceneBatch) -> list[Tensor]:
        pam = self._pam[0]
        with torch.no_grad():
            whole = run_sam(pam.sam, batch)
            far = pam.perceiver(whole.image, whole.tokens, QUARTER)
            near = self._near(batch.close, batch.close_rough)
        return list(pam.in_sequence([(*near, batch.outlines), far]))

    def _near(self, pixels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        pam = self._pam[0]
        output = close_up.decode(pam.sam, pixels, masks)
        return pam.perceiver(output.image, output.tokens, FULL)


def spoken(tokenizer: PreTrainedTokenizerBase, told: Telling) -> tuple[Sample, ...]:
    """The three questions about a clip with a perfect annotator's answers, which alone are learned."""
    asked = {field: (QUESTIONS[f"{TASK_OF_FIELD[field]}_en"], answer(told.story.facts, field)) for field in FIELDS}
    asked["caption"] = video_question("en", told.previous), told.story.caption(told.previous)
    return tuple(answers_alone(tokenizer, tokenise(tokenizer, [asked[field]])) for field in FIELDS)
