"""Decoding: greedy, drawn, streamed; together as alone."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from model.language import DecodingOptions, Prefix, Transformer, Writer
from model.language.generate import _nucleus
from tests.model.language.conftest import MakeLanguage


@pytest.fixture(scope="module")
def language(make_language: MakeLanguage, bytewise: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    return make_language(vocabulary=len(bytewise))


@pytest.fixture(scope="module")
def writer(language: Qwen2ForCausalLM, bytewise: PreTrainedTokenizerFast) -> Writer:
    return Writer(Transformer(language), bytewise)


def beginning(language: Qwen2ForCausalLM, seed: int, batch: int = 1, length: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, language.config.hidden_size, generator=generator)


def generated(language: Qwen2ForCausalLM, writer: Writer, begin: torch.Tensor, ids: list[int], new: int) -> list[int]:
    """Hugging Face's greedy answer."""
    embeds = torch.cat([begin, language.get_input_embeddings()(torch.tensor(ids))])[None]
    output = language.generate(
        inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long), max_new_tokens=new,
        do_sample=False, eos_token_id=writer.end, pad_token_id=writer.end,
    )  # fmt: skip
    return output[0].tolist()


def spoken(writer: Writer, prefix: Prefix, questions: list, options: DecodingOptions) -> list[list[list[int]]]:
    """Token ids of all rows, B x F lists, up to the end token."""
    steps = torch.stack([tokens for tokens, _ in writer.decode(prefix, questions, options)], dim=2).tolist()
    return [[ids[: ids.index(writer.end) + 1] if writer.end in ids else ids for ids in row] for row in steps]


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_together_as_alone_and_as_hugging_face(language: Qwen2ForCausalLM, writer: Writer, data: st.DataObject):
    """All questions about all regions in one batch: token for token what each is alone, ends included."""
    batch, rows = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    ids = st.lists(st.integers(3, 258), min_size=1, max_size=7)
    questions = [[data.draw(ids) for _ in range(rows)] for _ in range(batch)]
    begin = beginning(language, data.draw(st.integers(0, 99)), batch)
    with torch.inference_mode():
        prefix = writer.transformer.prefill(begin)
        together = spoken(writer, prefix, questions, DecodingOptions(12))
        for b in range(batch):
            for f in range(rows):
                assert together[b][f] == generated(language, writer, begin[b], questions[b][f], 12)
                alone = spoken(writer, prefix.row(b), [[questions[b][f]]], DecodingOptions(12))
                assert together[b][f] == alone[0][0]


def test_a_row_that_ends_does_not_end_the_others(language: Qwen2ForCausalLM, writer: Writer):
    """Each row has its own stop, and what is decoded after it leaves no trace in text or score."""
    with torch.inference_mode():
        prefix = writer.transformer.prefill(beginning(language, 3))
        for last in range(3, 259):  # a question that is answered by the end token at once, in this random model
            if spoken(writer, prefix, [[[last]]], DecodingOptions(1)) == [[[writer.end]]]:
                break
        else:
            pytest.fail("no question ends at once: choose another seed")
        silent, loud = writer.write(prefix, [[[last], [5, 6, 7]]], DecodingOptions(20))[0]
        alone = writer.write(prefix, [[[5, 6, 7]]], DecodingOptions(20))[0][0]
    assert silent.text == "" and silent.log_probability == -math.inf and silent.score == 0
    assert loud.text == alone.text and loud.log_probability == pytest.approx(alone.log_probability, abs=1e-5)


def test_the_score_is_the_mean_log_probability(language: Qwen2ForCausalLM, writer: Writer):
    """Of the tokens written, under the model's own distribution."""
    with torch.inference_mode():
        begin = beginning(language, 1)
        prefix = writer.transformer.prefill(begin)
        options = DecodingOptions(6, min_new_tokens=6)
        (ids,) = spoken(writer, prefix, [[[40]]], options)[0]
        embeds = torch.cat([begin[0], language.get_input_embeddings()(torch.tensor([40, *ids]))])
        log_probabilities = language(inputs_embeds=embeds[None]).logits[0, -7:-1].log_softmax(-1)
        expected = float(log_probabilities.gather(1, torch.tensor(ids)[:, None]).mean())
        utterance = writer.write(prefix, [[[40]]], options)[0][0]
    assert utterance.log_probability == pytest.approx(expected, abs=1e-4)
    assert utterance.score == pytest.approx(math.exp(expected), abs=1e-4)


def test_length_limits(language: Qwen2ForCausalLM, writer: Writer):
    """At least so many tokens, at most so many."""
    with torch.inference_mode():
        prefix = writer.transformer.prefill(beginning(language, 2))
        for row in spoken(writer, prefix, [[[token] for token in range(3, 259)]], DecodingOptions(7, 7))[0]:
            assert len(row) == 7 and writer.end not in row
        assert all(
            len(r) <= 5 for r in spoken(writer, prefix, [[[token] for token in range(3, 99)]], DecodingOptions(5))[0]
        )


def test_draws_follow_the_distribution(language: Qwen2ForCausalLM, writer: Writer):
    """4,000 first tokens at temperature 0.7: as often as their probability says, and the same for the same seed."""
    with torch.inference_mode():
        begin = beginning(language, 4)
        prefix = writer.transformer.prefill(begin)
        embeds = torch.cat([begin[0], language.get_input_embeddings()(torch.tensor([9]))])[None]
        expected = (language(inputs_embeds=embeds).logits[0, -1] / 0.7).softmax(-1)
        many = Prefix(
            *(t.expand(-1, 500, -1, -1, -1) for t in (prefix.keys, prefix.values)), prefix.hidden.expand(500, -1)
        )

        def draws(seed: int) -> list[int]:
            options = DecodingOptions(1, temperature=0.7, seed=seed)
            return [ids[0] for row in spoken(writer, many, [[[9]] * 8] * 500, options) for ids in row]

        drawn = draws(1)
        assert drawn == draws(1) and drawn != draws(2)
    for token, count in Counter(drawn).most_common(5):
        p = float(expected[token])
        assert abs(count / 4000 - p) < 5 * math.sqrt(p * (1 - p) / 4000)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=20), st.floats(0.01, 1))
def test_nucleus(weights: list[float], top_p: float):
    """The smallest set of likeliest tokens that reaches top_p stays, as it was."""
    p = torch.tensor(weights, dtype=torch.float64)
    p = p / p.sum()
    kept = _nucleus(p, top_p)
    assert torch.all((kept == 0) | (kept == p)) and kept.max() == p.max()
    assert float(kept.sum()) >= top_p - 1e-9
    if int((kept > 0).sum()) > 1:
        assert float(kept.sum() - kept[kept > 0].min()) < top_p + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_streamed_text_is_the_whole_text(language: Qwen2ForCausalLM, writer: Writer, seed: int):
    """Pieces put together are what is written at once, even where a random model writes bytes that are no text."""
    options = DecodingOptions(24, temperature=1.5, seed=seed)
    with torch.inference_mode():
        prefix = writer.transformer.prefill(beginning(language, seed))
        whole = [u.text for u in writer.write(prefix, [[[7], [8, 9]]], options)[0]]
        pieces = list(writer.stream(prefix, [[7], [8, 9]], options))
    for row, text in enumerate(whole):
        streamed = "".join(piece.text for piece in pieces if piece.row == row).strip()
        assert streamed == text


def test_chinese_is_streamed_by_whole_characters(bytewise: PreTrainedTokenizerFast, make_language: MakeLanguage):
    """Three tokens a character: no piece holds a part of one."""

    class Parrot(Writer):
        def decode(self, prefix, questions, options):
            for token in [*bytewise.encode("金属硬币 coin"), self.end]:
                yield torch.tensor([[token]]), torch.zeros(1, 1)

    language = make_language(vocabulary=len(bytewise))
    pieces = list(Parrot(Transformer(language), bytewise).stream(None, [[1]], DecodingOptions()))  # type: ignore[arg-type]
    assert [p.text for p in pieces][:4] == list("金属硬币")
    assert "".join(p.text for p in pieces) == "金属硬币 coin"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 4, "min_new_tokens": 5}, "min_new_tokens is 5"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
    ],
)
def test_options_that_mean_nothing(options: dict, says: str):
    """The message names the option and its value."""
    with pytest.raises(ValueError, match=says):
        DecodingOptions(**options)
