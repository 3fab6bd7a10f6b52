"""Stage two: SAM 2 is frozen; perceiver, projectors and language model learn to say what a region is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

from model import language
from model.fields import QUESTIONS, TASK_OF_FIELD, chat, join_explanation
from model.pam import PAM
from model.region import FIELDS
from model.training.data import SceneBatch
from model.training.scenes import Facts, draw_scene
from model.training.segmentation import FactHeads, run_sam

END = "<|im_end|>"
SPECIAL = ("<|endoftext|>", "<|im_start|>", END)


def answer(facts: Facts, field: str) -> str:
    """What a perfect annotator would write."""
    if field == "category":
        return facts.category
    return facts.caption if field == "caption" else join_explanation(facts.category, facts.explanation)


def train_tokenizer(seed: int, scenes: int, vocabulary: int) -> Tokenizer:
    """A byte-level BPE, like Qwen2's but small, learned from the questions and from the words about drawn scenes."""

    def texts() -> Iterator[str]:
        for question in QUESTIONS.values():
            if question.isascii():
                yield from [chat(question)] * 20
        for index in range(scenes):
            for thing in draw_scene(seed, index, 64).objects:
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
    """PAM's language side with the heads that stage two trains it through."""

    def __init__(self, pam: PAM, seed: int):
        super().__init__()
        # Not a submodule in full: SAM 2 stays out of the optimizer and out of the average.
        self.perceiver, self.language = pam.perceiver, pam.language
        self.image_projector, self.semantic_projector = pam.image_projector, pam.semantic_projector
        self.newlines = nn.ParameterList([pam.image_newline, pam.semantic_newline])
        self.heads = FactHeads(pam.perceiver.sem_tokens.weight.numel())
        self._pam = (pam,)
        self._seed = seed
        self._questions = {
            field: language.prompt_ids(pam.tokenizer, language.Question(QUESTIONS[f"{task}_en"]))
            for field, task in TASK_OF_FIELD.items()
        }

    def forward(self, batch: SceneBatch, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, one question for each object, and what to show of it."""
        pam = self._pam[0]
        with torch.no_grad():
            output = run_sam(pam.sam, batch)
        image, semantic = self.perceiver(output.image, output.tokens)
        facts = self.heads.loss(semantic.flatten(1), batch.classes)
        said = self._sentence_loss(
            pam.arrange(image, semantic), batch.facts, np.random.default_rng((self._seed, step, 11))
        )
        return said + 0.2 * facts, {"words": float(said.detach()), "facts": float(facts.detach())}

    def _sentence_loss(self, visual: Tensor, facts: list[Facts], rng: np.random.Generator) -> Tensor:
        tokenizer, embed = self._pam[0].tokenizer, self.language.get_input_embeddings()
        rows, targets = [], []
        for i, fact in enumerate(facts):
            field = str(rng.choice(FIELDS, p=(0.3, 0.2, 0.5)))
            before, after = self._questions[field]
            spoken = tokenizer.encode(answer(fact, field) + END, add_special_tokens=False)
            rows.append(language.splice(embed, before, visual[i], after + spoken))
            silent = len(before) + visual.shape[1] + len(after)
            targets.append(torch.tensor([-100] * silent + spoken, device=visual.device))
        # Padded at the right: causal attention never looks there, so no mask is needed.
        embeds = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        labels = nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=-100)
        logits = self.language(inputs_embeds=embeds).logits
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
