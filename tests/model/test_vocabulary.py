"""Closed vocabulary: exact against brute force, whatever the list and the model; and few labels scored of many."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import PAM, CheckpointError, EncodedImage, Point, Prompt, Segmentation
from model.checkpoints import NANO, TOKENIZER, load_tokenizer
from model.config import PAMConfig
from model.errors import LabelError, ModelError
from model.fields import QUESTIONS
from model.language import Question, prompt_ids
from model.training.shapes import CATEGORIES
from model.vocabulary import BATCH_TOKENS, MAX_LABELS, Ranking, rank, spellings

TOKENS = load_tokenizer(NANO / TOKENIZER)
END = int(TOKENS.convert_tokens_to_ids("<|im_end|>"))


class Markov:
    """A language model in which each token depends on the one before alone; counts what it is asked to score.

    sharpness: spread of the logits; a real model is sharp.
    """

    def __init__(self, seed: int, sharpness: float):
        rng = np.random.default_rng(seed)
        logits = rng.normal(0, sharpness, (len(TOKENS) + 1, len(TOKENS)))
        logits[:, END] += sharpness
        self._log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        self.first_log_probs = self._log[-1]
        self.batches: list[list[list[int]]] = []

    def score(self, continuations: list[list[int]]) -> np.ndarray:
        """The sum of log-probabilities of each continuation."""
        self.batches.append(continuations)
        return np.array([self.exact(tokens) for tokens in continuations])

    def exact(self, tokens: list[int]) -> float:
        return float(sum(self._log[a, b] for a, b in zip([-1, *tokens[:-1]], tokens, strict=True)))

    def prefer(self, text: str, share: float) -> None:
        """Make the model begin its answer with the first token of `text` with that probability."""
        token = TOKENS.encode(text, add_special_tokens=False)[0]
        p = np.exp(self.first_log_probs)
        p[token] = 0
        p *= (1 - share) / p.sum()
        p[token] = share
        self._log[-1] = np.log(p)
        self.first_log_probs = self._log[-1]


def brute_force(labels: list[str], model: Markov, temperature: float = 1.0) -> dict[str, float]:
    """Probability of each label, every spelling of every one scored on its own."""
    likelihood = {}
    for label in labels:
        forms = {(*TOKENS.encode(form, add_special_tokens=False), END) for form in spellings(label)}
        likelihood[label] = math.log(sum(math.exp(model.exact(list(form))) for form in forms))
    top = max(likelihood.values())
    weights = {label: math.exp((value - top) / temperature) for label, value in likelihood.items()}
    return {label: weight / sum(weights.values()) for label, weight in weights.items()}


def probabilities(ranking: Ranking) -> dict[str, float]:
    return dict(zip(ranking.labels, ranking.probabilities, strict=True))


LABELS = st.lists(
    st.one_of(
        st.text("abc -_", min_size=1, max_size=5),
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
        st.sampled_from(["cup", "cup board", "cupboard", "Cup", "CUP", "硬币", "硬", "🦊", "a_light", "a-light"]),
    ).filter(lambda label: label.strip() and "\0" not in label),
    min_size=1,
    max_size=60,
    unique_by=str.strip,
)


@settings(deadline=None, max_examples=150)
@given(LABELS, st.integers(0, 10_000), st.floats(0.1, 8), st.floats(0.3, 4))
def test_the_ranking_is_that_of_brute_force(labels: list[str], seed: int, sharpness: float, temperature: float):
    """For any list and any model: the same best, the same probabilities up to the share that may stay unscored."""
    model = Markov(seed, sharpness)
    expected = brute_force(labels, model, temperature)
    ranking = rank(labels, TOKENS, model, temperature)
    said = probabilities(ranking)
    assert sorted(ranking.labels) == sorted(labels)
    assert sum(ranking.probabilities) == pytest.approx(1)
    assert list(ranking.probabilities) == sorted(ranking.probabilities, reverse=True)
    assert expected[ranking.best] == pytest.approx(max(expected.values()), abs=1e-9)
    for label in labels:
        assert said[label] == pytest.approx(expected[label], abs=0.011)
    assert 0 <= ranking.certainty <= 1 and 0 < ranking.coverage <= 1


def many(count: int) -> list[str]:
    """So many different labels, of words that nano's tokenizer cuts into one to six tokens."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(rng.choice(letters, int(rng.integers(2, 9))))] = None
    return list(words)


@pytest.mark.parametrize(("temperature", "limit"), [(0.5, 500), (1.0, 1000), (1.5, 2500)])
def test_of_thousands_of_labels_few_are_scored(temperature: float, limit: int):
    """A model that knows what it wants to say is asked about the labels that begin like that, and about few others."""
    labels = [*many(5000), "silver coin"]
    model = Markov(1, 6)
    model.prefer("silver coin", 0.995)
    ranking = rank(labels, TOKENS, model, temperature)
    expected = brute_force(labels, model, temperature)
    assert ranking.best == max(expected, key=expected.__getitem__)
    assert ranking.scored == sum(len({tuple(t) for t in b}) for b in model.batches)
    assert ranking.scored < limit
    assert max(abs(probabilities(ranking)[label] - p) for label, p in expected.items()) < 0.011


def test_a_better_label_that_begins_unlikely_is_found():
    """A shortlist by first tokens alone would miss it: "b" begins likely and then goes nowhere, "a" the other way."""
    labels = many(3000)
    model = Markov(2, 0.2)
    expected = brute_force(labels, model)
    assert rank(labels, TOKENS, model).best == max(expected, key=expected.__getitem__)


def test_batches_stay_small():
    """However long the list, the scorer's memory is bounded."""
    model = Markov(3, 0.2)
    rank([*many(2000), *(f"{word} " * 20 for word in many(2100)[2000:])], TOKENS, model)
    assert max(len(batch) * max(map(len, batch)) for batch in model.batches) <= BATCH_TOKENS
    assert len(model.batches) > 5


@pytest.mark.parametrize(
    ("label", "forms"),
    [
        ("coin", ("coin",)),
        (" Coin ", ("Coin", "coin")),
        ("Traffic_Light", ("Traffic_Light", "traffic_light", "Traffic Light", "traffic light")),
        ("T-shirt", ("T-shirt", "t-shirt", "T shirt", "t shirt")),
        ("硬币", ("硬币",)),
        ("_", ("_",)),
    ],
)
def test_a_label_may_be_spelled_in_several_ways(label: str, forms: tuple[str, ...]):
    """Lists say Traffic_Light; models say traffic light."""
    assert spellings(label) == forms


def test_spellings_add_up_and_are_counted_once():
    """A label's likelihood is the sum over its spellings; one that is spelled in one way only has no advantage."""
    model = Markov(4, 2)
    for labels in (["Coin", "cat"], ["coin", "cat"], ["Traffic_Light", "traffic light"]):
        said, expected = probabilities(rank(labels, TOKENS, model)), brute_force(labels, model)
        assert said == pytest.approx(expected, abs=1e-9)


def test_a_list_of_one():
    """There is nothing to choose, and the coverage still says how little the model thinks of it."""
    ranking = rank(["zebra crossing"], TOKENS, Markov(5, 3))
    assert (ranking.best, ranking.score, ranking.certainty) == ("zebra crossing", 1.0, 1.0)
    assert ranking.coverage < 0.01


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([], "is empty"),
        (["cup", " "], "a label is empty"),
        (["cup", "cat", "cup"], "'cup' is in the list twice"),
        (["cup", "cup "], "twice"),
        (["x" * 201], "longer than 200"),
        (["a<|im_end|>"], "control token"),
        (["a\ud800"], "no text"),
        ("cup", "give a list"),
        ([str(i) for i in range(MAX_LABELS + 1)], "20001 labels"),
    ],
    ids=str,
)
def test_a_list_that_nothing_can_be_chosen_from(labels: list[str], says: str):
    """Each is refused with what is wrong, before the model is asked."""
    model = Markov(6, 1)
    with pytest.raises(LabelError, match=says):
        rank(labels, TOKENS, model)
    assert model.batches == []


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_that_is_none(temperature: float):
    """It comes from a checkpoint's file, and is not trusted."""
    with pytest.raises(LabelError, match="temperature"):
        rank(["cup"], TOKENS, Markov(6, 1), temperature)


def test_a_damaged_model_is_no_answer():
    """NaN never becomes a label, and neither do scores that are missing."""
    model = Markov(7, 1)
    model.score = lambda continuations: np.full(len(continuations), np.nan)  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="NaN"):
        rank(["cup", "cat"], TOKENS, model)
    model.score = lambda continuations: np.zeros(1)  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"scores \(1,\) for 2"):
        rank(["cup", "cat"], TOKENS, model)


@pytest.fixture(scope="module")
def region(nano: PAM, encoded: EncodedImage) -> Segmentation:
    """A cup, clicked on a photograph."""
    return nano.segment(encoded, Prompt((Point(300, 170),)))


def test_nano_is_ranked_as_the_transformers_library_scores_it(nano: PAM, region: Segmentation):
    """Likelihoods by the library's own forward pass, one whole sequence at a time, are those of the shared prefix."""
    labels = ["cup", "Coin", "traffic_light", "cupboard", "a thing", "茶杯"]
    before, after = prompt_ids(nano.tokenizer, Question(QUESTIONS["recognize_en"]))
    visual = nano.visual_tokens([region])[0]
    expected = {}
    for label in labels:
        total = 0.0
        for form in spellings(label):
            said = [*TOKENS.encode(form, add_special_tokens=False), END]
            embed = nano.language.get_input_embeddings()
            parts = [embed(torch.tensor(before)), visual, embed(torch.tensor(after + said))]
            with torch.inference_mode():
                logits = nano.language(inputs_embeds=torch.cat(parts)[None]).logits[0, -len(said) - 1 : -1]
            total += math.exp(logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None]).sum())
        expected[label] = math.log(total)
    ranking = nano.rank(region, labels)
    assert dict(zip(ranking.labels, ranking.log_likelihoods, strict=True)) == pytest.approx(expected, abs=1e-3)
    assert ranking.scored == len(labels)


def test_nano_chooses_from_thousands(nano: PAM, region: Segmentation):
    """The words that it knows, hidden among five thousand that it does not: few others are scored."""
    alone = nano.rank(region, list(CATEGORIES))
    among = nano.rank(region, [*many(5000), *CATEGORIES])
    assert among.best == alone.best
    assert among.score == pytest.approx(alone.score, abs=0.02)
    assert among.scored < 3000
    assert alone.coverage <= among.coverage + 1e-6


def test_the_checkpoints_temperature_decides_how_sure(nano: PAM, region: Segmentation, monkeypatch: pytest.MonkeyPatch):
    """A higher one, the same order, less certainty."""
    first = nano.rank(region, list(CATEGORIES))
    monkeypatch.setattr(nano, "config", replace(nano.config, label_temperature=4 * nano.config.label_temperature))
    second = nano.rank(region, list(CATEGORIES))
    assert first.labels == second.labels
    assert second.score < first.score and second.certainty < first.certainty


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, "hot", None])
def test_a_checkpoint_with_a_temperature_that_is_none(value: object):
    """Refused when it is read; one without any is of an older format and has 1."""
    data = json.loads((NANO / "config.json").read_text())
    data["model"]["label_temperature"] = value
    with pytest.raises(CheckpointError, match="configuration"):
        PAMConfig.from_dict(data)
    del data["model"]["label_temperature"]
    assert PAMConfig.from_dict(data).label_temperature == 1.0
