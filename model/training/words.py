"""Stage three: perceiver, projectors and language model learn to say what a region is, and close-ups get better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from model.fields import QUESTIONS, TASK_OF_FIELD, chat, join_explanation
from model.pam import PAM
from model.perceiver import QUARTER
from model.region import FIELDS
from model.training.closeness import CloseUpStage, pictures
from model.training.conversation import Sample, answers_alone, collate, predictions, tokenise
from model.training.data import FACTS, IN_WHOLE, SceneBatch
from model.training.facts import Facts
from model.training.scenes import draw_scene
from model.training.segmentation import FactHeads, run_sam

END = "<|im_end|>"
PLACE = list(FACTS).index("place")
SPECIAL = ("<|endoftext|>", "<|im_start|>", END)


def answer(facts: Facts, field: str) -> str:
    """What a perfect annotator would write."""
    if field == "category":
        return facts.category
    return facts.caption if field == "caption" else join_explanation(facts.category, facts.explanation)


def taught(tokenizer: PreTrainedTokenizerBase, facts: Facts) -> tuple[Sample, ...]:
    """The three questions about a thing with a perfect annotator's answers, which alone are learned."""
    asked = ((QUESTIONS[f"{TASK_OF_FIELD[field]}_en"], answer(facts, field)) for field in FIELDS)
    return tuple(answers_alone(tokenizer, tokenise(tokenizer, [turn])) for turn in asked)


def train_tokenizer(seed: int, scenes: int, vocabulary: int) -> Tokenizer:
    """A byte-level BPE, like Qwen2's but small, learned from the questions and from the words about drawn scenes."""

    def texts() -> Iterator[str]:
        for question in QUESTIONS.values():
            if question.isascii():
                yield from [chat(question)] * 20
        for index in range(scenes):
            for thing in draw_scene(seed, index, 96).objects:
                yield from (answer(thing.facts, field) for field in FIELDS)

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts(),
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


class WordStage(nn.Module):
    """PAM's language side with the heads that stage three trains it through."""

    def __init__(self, pam: PAM):
        super().__init__()
        self.near = CloseUpStage(pam)
        self.language = pam.language.train().requires_grad_(True)
        self.image_projector, self.semantic_projector = pam.image_projector, pam.semantic_projector
        self.outline_projector = pam.outline_projector
        self.newlines = nn.ParameterList([pam.image_newline, pam.semantic_newline, pam.frame_newline])
        self.heads = FactHeads(pam.perceiver.sem_tokens.weight.numel(), IN_WHOLE)
        self._pam = (pam,)

    def forward(self, batch: SceneBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, all questions for each object, and what to show of it.

        progress: share of the steps done, 0..1.
        """
        pam = self._pam[0]
        near, learned, figures = self.near.look(batch)
        # Place and size are read off the whole: SAM 2 must not forget them, and one picture is enough to remember.
        first, kept, more = self.near.look_at_first(batch)
        image, tokens = first.image, first.tokens
        if len(batch.pixels) > 1:
            with torch.no_grad():
                rest = run_sam(pam.sam, pictures(batch, slice(1, None)))
            image, tokens = torch.cat([image, rest.image]), torch.cat([tokens, rest.tokens])
        far = pam.perceiver(image, tokens, QUARTER)
        semantic = far[1].flatten(1)
        facts = self.heads.loss(semantic, batch.classes)
        placed = self.heads(semantic)["place"].argmax(1) == batch.classes[:, PLACE]
        visual = pam.in_sequence([(*near, batch.outlines), far])
        said, shown = sentence_losses(pam, list(visual), [taught(pam.tokenizer, fact) for fact in batch.facts])
        shown |= {**figures, **more, "placed": float(placed.float().mean())}
        return said + facts + 0.5 * learned + 0.5 * kept, shown


def sentence_losses(
    pam: PAM, visual: Sequence[Tensor], said: Sequence[Sequence[Sample]]
) -> tuple[Tensor, dict[str, float]]:
    """The loss of what is said of regions or clips: cross entropies of all FIELDS.

    visual: float (V_i, hidden) of each. said: of each, one conversation for each of FIELDS. Returns, too, what to show:
    the cross entropy of each field, and the share of answers of which each token is the likeliest.
    """
    batch = collate(pam.language.get_input_embeddings(), said, visual)
    logits, targets = predictions(pam.language, batch)
    each = F.cross_entropy(logits.float(), targets, reduction="none").split(batch.counts)
    right = [bool(one.all()) for one in (logits.argmax(1) == targets).split(batch.counts)]
    mine = {name: slice(i, None, len(FIELDS)) for i, name in enumerate(FIELDS)}
    losses = {name: torch.cat(each[mine[name]]).mean() for name in FIELDS}
    shares = {f"{name} right": float(np.mean(right[mine[name]])) for name in ("category", "caption")}
    shown = {name: float(value.detach()) for name, value in losses.items()} | shares
    # A caption says five things in a score of tokens, a category one in two.
    return sum(losses.values(), 5 * losses["caption"]), shown
