"""Our way through Qwen2 is Hugging Face's, whatever is shared on the way."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2ForCausalLM

from model.language.graph import StaticStep
from model.language.transformer import Prefix, Transformer
from tests.model.language.conftest import MakeLanguage

LIMIT = 2e-4


@pytest.fixture(scope="module", params=[(4, 2, False), (4, 4, True), (6, 1, False)], ids=["grouped", "full", "single"])
def language(request: pytest.FixtureRequest, make_language: MakeLanguage) -> Qwen2ForCausalLM:
    heads, kv, tied = request.param
    return make_language(heads, kv, tied=tied)


def reference(language: Qwen2ForCausalLM, beginning: torch.Tensor, ids: list[int]) -> torch.Tensor:
    """Hugging Face's logits, float (len(ids) + 1, V), from the beginning's last position on."""
    embeds = torch.cat([beginning, language.get_input_embeddings()(torch.tensor(ids, dtype=torch.long))])
    return language(inputs_embeds=embeds[None]).logits[0, len(beginning) - 1 :]


def beginnings(language: Qwen2ForCausalLM, batch: int, length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, language.config.hidden_size, generator=generator)


@torch.inference_mode()
def test_prefill_and_extend(language: Qwen2ForCausalLM):
    """The state after a beginning, and after tokens were added to it."""
    transformer, begin = Transformer(language), beginnings(language, 2, 17)
    prefix = transformer.prefill(begin)
    longer = transformer.extend(prefix, [5, 9, 250])
    for i in range(2):
        expected = reference(language, begin[i], [5, 9, 250])
        torch.testing.assert_close(transformer.logits(prefix.hidden[i]), expected[0], atol=LIMIT, rtol=0)
        torch.testing.assert_close(transformer.logits(longer.hidden[i]), expected[3], atol=LIMIT, rtol=0)
        again = transformer.extend(longer.row(i), [7])
        expected = reference(language, begin[i], [5, 9, 250, 7])
        torch.testing.assert_close(transformer.logits(again.hidden[0]), expected[4], atol=LIMIT, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_rows_of_any_length_share_their_prefix(language: Qwen2ForCausalLM, data: st.DataObject):
    """B regions x F rows with tails of unlike lengths, then tokens one by one: each row as if it were alone."""
    batch, rows, length = (data.draw(st.integers(1, n)) for n in (3, 4, 9))
    ids = st.integers(0, 299)
    tails = [[data.draw(st.lists(ids, min_size=1, max_size=6)) for _ in range(rows)] for _ in range(batch)]
    more = data.draw(st.lists(st.lists(st.lists(ids, min_size=rows, max_size=rows), min_size=batch, max_size=batch),
                              max_size=4))  # fmt: skip
    transformer, begin = Transformer(language), beginnings(language, batch, length)
    with torch.inference_mode():
        prefix = transformer.prefill(begin)
        longest = max(len(t) for row in tails for t in row)
        padded = torch.tensor([[[*t, *[299] * (longest - len(t))] for t in row] for row in tails])
        lengths = torch.tensor([[len(t) for t in row] for row in tails])
        state, hidden = transformer.start(prefix, padded, lengths, longest + len(more))
        steps = [transformer.logits(transformer.step(state, torch.tensor(tokens))) for tokens in more]
        for b in range(batch):
            for f in range(rows):
                added = [tokens[b][f] for tokens in more]
                expected = reference(language, begin[b], [*tails[b][f], *added])[len(tails[b][f]) :]
                ours = [transformer.logits(hidden[b, f]), *(step[b, f] for step in steps)]
                torch.testing.assert_close(torch.stack(ours), expected, atol=LIMIT, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("tokens_per_pass", [512, 8, 1])
def test_continuations_are_weighed(language: Qwen2ForCausalLM, monkeypatch: pytest.MonkeyPatch, tokens_per_pass: int):
    """In one pass over the shared prefix or in many: the sums of log-probabilities that a full pass for each gives."""
    monkeypatch.setattr("model.language.transformer.TOKENS_PER_PASS", tokens_per_pass)
    transformer, begin = Transformer(language), beginnings(language, 1, 11)
    continuations = [[4], [4, 5], [4, 5, 6, 7, 8], [299, 0], [0], [17, 17, 17]]
    scores = transformer.score(transformer.prefill(begin), continuations)
    for ids, score in zip(continuations, scores, strict=True):
        log_probabilities = reference(language, begin[0], ids)[:-1].log_softmax(-1)
        expected = sum(float(log_probabilities[i, token]) for i, token in enumerate(ids))
        assert float(score) == pytest.approx(expected, abs=1e-3)


@torch.inference_mode()
def test_a_static_step_serves_one_prompt_after_the_other(language: Qwen2ForCausalLM):
    """What a CUDA graph replays, run on the CPU: nothing of an earlier prompt is left in its memory."""
    transformer = Transformer(language)

    def prompt(seed: int) -> tuple[Prefix, torch.Tensor]:
        ids = torch.randint(0, 299, (2, 3, 4), generator=torch.Generator().manual_seed(seed))
        return transformer.prefill(beginnings(language, 2, 8, seed)), ids

    lengths = torch.tensor([[4, 2, 1], [3, 4, 4]])
    prefix, ids = prompt(0)
    static = StaticStep(transformer, transformer.start(prefix, ids, lengths, 8)[0])
    for seed in (1, 2):
        prefix, ids = prompt(seed)
        static.load(transformer.start(prefix, ids, lengths, 8)[0])
        tails = transformer.start(prefix, ids, lengths, 8)[0]
        for token in (3, 44):
            tokens = torch.full((2, 3), token)
            expected = transformer.logits(transformer.step(tails, tokens))
            torch.testing.assert_close(static(tokens), expected, atol=0, rtol=0)


@torch.inference_mode()
def test_the_prefix_is_not_repeated_for_rows(language: Qwen2ForCausalLM):
    """Rows add their own slots and no more: eight questions must not take eight times the memory."""
    transformer = Transformer(language)
    prefix = transformer.prefill(beginnings(language, 1, 400))
    rows, _ = transformer.start(prefix, torch.ones(1, 8, 3, dtype=torch.long), torch.full((1, 8), 3), 10)
    assert rows.keys.shape[3] == 400 + 8 * 10


def test_weights_are_held_once_and_follow_the_model(make_language: MakeLanguage):
    """Fused weights are the model's own: training reaches them, saving sees them, moving makes the view old."""
    language = make_language()
    before = {name: tensor.clone() for name, tensor in language.state_dict().items()}
    transformer = Transformer(language)
    assert all(torch.equal(before[name], tensor) for name, tensor in language.state_dict().items())
    held = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in language.parameters()}
    assert sum(held.values()) == sum(p.numel() * p.element_size() for p in language.parameters())

    begin = beginnings(language, 1, 5)
    with torch.no_grad():
        language.model.layers[0].self_attn.k_proj.weight.mul_(1.5)
    with torch.inference_mode():
        ours = transformer.logits(transformer.prefill(begin).hidden[0])
        torch.testing.assert_close(ours, reference(language, begin[0], [])[0], atol=LIMIT, rtol=0)
    assert transformer.is_current(language)
    assert not transformer.is_current(language.to(torch.bfloat16))
    assert not transformer.is_current(make_language())


def test_training_goes_on_after_an_answer(make_language: MakeLanguage):
    """Views made under inference mode would refuse gradients."""
    language = make_language()
    with torch.inference_mode():
        Transformer(language)
    language.requires_grad_(True)
    language(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    weight = language.model.layers[0].self_attn.q_proj.weight
    assert weight.grad is not None and float(weight.grad.abs().sum()) > 0
    torch.optim.SGD(language.parameters(), 0.1).step()


def test_adapters_are_not_passed_over(make_language: MakeLanguage):
    """A layer that is more than its weight would silently answer without the rest."""
    language = make_language()
    attention = language.model.layers[1].self_attn

    class Adapted(torch.nn.Linear):
        pass

    adapted = Adapted(attention.q_proj.in_features, attention.q_proj.out_features)
    attention.q_proj = adapted
    with pytest.raises(TypeError, match="holds a Adapted: merge its adapters"):
        Transformer(language)


def test_half_precision(make_language: MakeLanguage):
    """bfloat16 weights are run in bfloat16, and stray on the mean no further from float32 than Hugging Face's do."""
    ours, theirs = [], []
    for seed in range(8):
        language, half = make_language(seed=seed), make_language(seed=seed).to(torch.bfloat16)
        begin = beginnings(language, 1, 30, seed)
        with torch.inference_mode():
            expected = reference(language, begin[0], [])[0]
            transformer = Transformer(half)
            logits = transformer.logits(transformer.prefill(begin.to(torch.bfloat16)).hidden[0])
            assert logits.dtype == torch.bfloat16
            ours.append((logits - expected).abs().mean())
            theirs.append((reference(half, begin[0].to(torch.bfloat16), [])[0] - expected).abs().mean())
    assert sum(ours) <= 1.25 * sum(theirs)
