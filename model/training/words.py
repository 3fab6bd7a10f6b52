"""Stage three: perceiver, projectors and language model learn to say what a region is, and close-ups get better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

from model import language
from model.fields import QUESTIONS, TASK_OF_FIELD, chat, join_explanation
from model.pam import PAM
from model.perceiver import QUARTER
from model.region import FIELDS
from model.training.closeness import CloseUpStage, pictures
from model.training.conversation import PADDING, SHARED, blinkers
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
        asked = {
            field: language.prompt_ids(pam.tokenizer, language.Question(QUESTIONS[f"{task}_en"]))
            for field, task in TASK_OF_FIELD.items()
        }
        self._header = torch.tensor(asked["category"][0], device=pam.device)
        self._questions = {field: after for field, (_, after) in asked.items()}

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
        newline = pam.frame_newline.expand(len(batch.facts), 1, -1)
        visual = torch.cat([pam.arrange(*near, batch.outlines), newline, pam.arrange(*far), newline], dim=1)
        said, right = self._sentence_loss(visual, batch.facts)
        shown = {name: float(value.detach()) for name, value in said.items()}
        # A caption says five things in a score of tokens, a category one in two.
        said["caption"] = 6 * said["caption"]
        shown["placed"] = float(placed.float().mean())
        return sum(said.values(), facts + 0.5 * learned + 0.5 * kept), {**shown, **figures, **more, **right}

    def _sentence_loss(self, visual: Tensor, facts: list[Facts]) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Per field the cross entropy of a perfect annotator's answers; and the share of objects of which each token
        of category and caption is the likeliest."""
        embed = self.language.get_input_embeddings()
        header = embed(self._header).expand(len(visual), -1, -1)
        # Read once, answered thrice: the questions are packed into one row, each blind to the others.
        packs = [self._pack(fact) for fact in facts]
        length = max(len(pack.ids) for pack in packs)
        pad = [length - len(pack.ids) for pack in packs]
        tail = torch.tensor([pack.ids + [0] * n for pack, n in zip(packs, pad, strict=True)])
        part = torch.tensor([pack.part + [PADDING] * n for pack, n in zip(packs, pad, strict=True)])
        place = torch.tensor([pack.place + [0] * n for pack, n in zip(packs, pad, strict=True)])
        wanted = torch.tensor([pack.wanted + [-100] * n for pack, n in zip(packs, pad, strict=True)])
        tail, part, place, wanted = (each.to(visual.device) for each in (tail, part, place, wanted))
        embeds = torch.cat([header, visual, embed(tail)], dim=1)
        begun = embeds.shape[1] - length
        positions = torch.cat([torch.arange(begun, device=visual.device).expand(len(visual), -1), begun + place], dim=1)
        whole = torch.cat([torch.full((len(part), begun), SHARED, device=part.device), part], dim=1)
        hidden = self.language.model(
            inputs_embeds=embeds, attention_mask=blinkers(whole, embeds.dtype), position_ids=positions
        ).last_hidden_state[:, begun:]
        spoken = wanted != -100
        logits = self.language.lm_head(hidden[spoken]).float()
        loss = F.cross_entropy(logits, wanted[spoken], reduction="none")
        wrong = torch.zeros_like(wanted, dtype=torch.bool)
        wrong[spoken] = logits.argmax(1) != wanted[spoken]
        right = {
            f"{name} right": float(1 - (wrong & (part == FIELDS.index(name))).any(1).float().mean())
            for name in ("category", "caption")
        }
        return {name: loss[part[spoken] == i].mean() for i, name in enumerate(FIELDS)}, right

    def _pack(self, fact: Facts) -> _Pack:
        pack = _Pack([], [], [], [])
        for i, field in enumerate(FIELDS):
            question = self._questions[field]
            spoken = self._pam[0].tokenizer.encode(answer(fact, field) + END, add_special_tokens=False)
            ids = question + spoken[:-1]
            pack.ids.extend(ids)
            pack.part.extend([i] * len(ids))
            pack.place.extend(range(len(ids)))
            pack.wanted.extend([-100] * (len(question) - 1) + spoken)
        return pack


@dataclass
class _Pack:
    """Questions and answers of one object in a row.

    ids: tokens. part: the number of the question that each belongs to. place: its number within the question.
    wanted: the token that comes next, -100 where nothing is to be learned.
    """

    ids: list[int]
    part: list[int]
    place: list[int]
    wanted: list[int]
