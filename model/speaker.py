"""Words about regions: which questions are asked, and what is made of the answers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from model import fields, vocabulary
from model.errors import QuestionError
from model.explanation import begin_explanation, join_explanation, split_explanation
from model.language import GREEDY, DecodingOptions, Prefix, PrefixScorer, Question, Utterance, Writer, prompt_ids
from model.region import FIELDS, Words
from model.vocabulary import Ranking


@dataclass(frozen=True)
class WordOptions:
    """How regions are described.

    language: "en" or "zh". caption: "brief" or "detailed".
    """

    language: str = "en"
    caption: str = "brief"
    decoding: DecodingOptions = GREEDY


UNKNOWN_SHARE = 0.1
"""What is left of the score of a name where one of the answers says that the model does not know."""

PLAIN = WordOptions()
"""English, brief, greedy."""


@dataclass(frozen=True, eq=False)
class Speaker:
    """Speaks of regions that a language model has read (`Prefix`), several at once.

    label_temperature: see `model.vocabulary.rank`.
    languages:         those that it was trained to describe regions in.
    calibration, unknown: see PAMConfig. Platt scaling (Probabilistic Outputs for Support Vector Machines, 1999).
    """

    writer: Writer
    tokenizer: PreTrainedTokenizerBase
    label_temperature: float
    languages: tuple[str, ...]
    calibration: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    unknown: str = ""

    def question_ids(self, questions: Sequence[Question | str]) -> list[list[int]]:
        """What follows the image placeholder of each question, as token ids; a str is a question of one's own.

        Raises QuestionError for one that is empty or holds more than plain words, and where no list was given.
        """
        if isinstance(questions, str):  # would be asked letter by letter
            raise QuestionError(f"the questions are the text {questions[:40]!r}: give a list of texts")
        asked = [Question(fields.ask(each)) if isinstance(each, str) else each for each in questions]
        return [prompt_ids(self.tokenizer, question)[1] for question in asked]

    def describe(self, prefix: Prefix, options: WordOptions, previous: str | None = None) -> list[Words]:
        """All fields of all regions, in one batch.

        previous: of a clip, the caption of the one before it, or ""; None for regions of a picture.
        """
        asked = [Question(self._asks(field, options, previous)) for field in FIELDS]
        answers = self.writer.write(prefix, [self.question_ids(asked)] * len(prefix.hidden), options.decoding)
        return [self._words(*row) for row in answers]

    def _words(self, category: Utterance, explanation: Utterance, caption: Utterance) -> Words:
        label, definition = split_explanation(explanation.text, category.text)
        hedged = self._hedges(category.text) or self._hedges(label) or self._hedges(caption.text)
        return Words(
            category=category.text,
            explanation=definition,
            caption=caption.text,
            log_probabilities={
                "category": self._score("category", category, hedged),
                "explanation": self._score("explanation", explanation, hedged),
                "caption": self._score("caption", caption),
            },
        )

    def _hedges(self, text: str) -> bool:
        """Whether an answer says that the model does not know."""
        return bool(self.unknown) and bool(re.search(rf"\b{re.escape(self.unknown)}\b", text))

    def _score(self, field: str, said: Utterance, hedged: bool = False) -> float:
        """The log of the chance that an answer is right.

        hedged: whether this or another answer about the region says that the model does not know.
        """
        value = said.log_probability
        if field in self.calibration and said.text:
            slope, offset = self.calibration[field]
            value = -math.log1p(math.exp(min(-(slope * value + offset), 700.0)))
        return value + math.log(UNKNOWN_SHARE) if hedged else value

    def describe_as_one_of(
        self, prefix: Prefix, labels: Sequence[str], options: WordOptions, previous: str | None = None
    ) -> list[Words]:
        """The same, with a category out of `labels`, which the explanation then begins with. Raises LabelError."""
        rankings = [self.rank(prefix.row(i), labels, options.language) for i in range(len(prefix.hidden))]
        explain, describe = (self._asks(field, options, previous) for field in ("explanation", "caption"))
        asked = [
            self.question_ids([Question(explain, begin_explanation(ranking.best)), Question(describe)])
            for ranking in rankings
        ]
        answers = self.writer.write(prefix, asked, options.decoding)
        return [
            Words(
                category=ranking.best,
                explanation=split_explanation(join_explanation(ranking.best, explanation.text), ranking.best)[1],
                caption=caption.text,
                log_probabilities={
                    "category": math.log(ranking.score),
                    "explanation": explanation.log_probability,
                    "caption": self._score("caption", caption),
                },
                ranking=ranking,
            )
            for ranking, (explanation, caption) in zip(rankings, answers, strict=True)
        ]

    def rank(self, prefix: Prefix, labels: Sequence[str], language: str) -> Ranking:
        """Weigh which of `labels` the one region of `prefix` is. Raises LabelError."""
        (question,) = self.question_ids([Question(self._question("category", language))])
        scorer = PrefixScorer(self.writer.transformer, self.writer.transformer.extend(prefix, question))
        return vocabulary.rank(labels, self.tokenizer, scorer, self.label_temperature)

    def _asks(self, field: str, options: WordOptions, previous: str | None) -> str:
        asked = self._question(field, options.language, options.caption)
        return asked if previous is None or field != "caption" else fields.video_question(options.language, previous)

    def _question(self, field: str, language: str, caption: str = "brief") -> str:
        asked = fields.question(field, language, caption)
        if language not in self.languages:
            raise QuestionError(
                f"this model was trained to speak {', '.join(self.languages)}, not {language}: load another one, or do "
                "without"
            )
        return asked
