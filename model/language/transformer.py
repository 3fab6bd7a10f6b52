"""Qwen2, run the way that PAM asks it: a long visual prefix once, then many short rows that share it.

Nearly all of a prompt is region tokens, the same for every question about the region. So a prefix is prefilled once
for each region, and the rows (questions while they are answered, or labels while they are weighed) attend to it
together, in one matrix product (as in Hydragen, arXiv 2402.05099), and each to its own tail behind it. Nothing of the
prefix is repeated for a row, and every tensor has one shape from the first token to the last, so that a CUDA graph can
replay a step.

Shapes: B regions, F rows for each, T tokens, S slots of a tail, P tokens of a prefix, L = P + F*S places, KV key/value
heads, G query heads to each of them, D the width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.language.weights import fuse

TOKENS_PER_PASS = 512
"""Tokens whose next-token probabilities are worked out at once: with 151,936 words, 300 MB in float32."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """The beginning of B prompts, all of one length.

    keys, values: float (layers, B, KV, P, D); positions are rotated into the keys.
    hidden:       float (B, hidden), the final state of the last token.
    """

    keys: Tensor
    values: Tensor
    hidden: Tensor

    @property
    def length(self) -> int:
        """Tokens, P."""
        return self.keys.shape[3]

    def row(self, index: int) -> Prefix:
        """The prompt of that number alone."""
        one = slice(index, index + 1)
        return Prefix(self.keys[:, one], self.values[:, one], self.hidden[one])


@dataclass(frozen=True, eq=False)
class Rows:
    """F rows that go on from each of B prompts; `Transformer.step` writes to it.

    keys, values: float (layers, B, KV, L, D): the prefix, then S slots for the tail of each row.
    slots:        int64 (F, L), which slot of the row a place is: -1 for the prefix, S for what belongs to other rows.
    begins:       int64 (F,), the place of each row's first slot.
    used:         int64 (B, F), how many of its slots hold a token.
    prefix, room: P and S.
    """

    keys: Tensor
    values: Tensor
    slots: Tensor
    begins: Tensor
    used: Tensor
    prefix: int
    room: int

    @cached_property
    def layers(self) -> tuple[LayerRows, ...]:
        """Views of the keys and values of each layer; kept, since making them takes longer than a small model does."""
        return tuple(
            LayerRows(keys, values, keys.flatten(0, 1).transpose(1, 2), values.flatten(0, 1))
            for keys, values in zip(self.keys, self.values, strict=True)
        )


class LayerRows(NamedTuple):
    """One layer of Rows: keys and values (B, KV, L, D), and the same as matrices, (B*KV, D, L) and (B*KV, L, D)."""

    keys: Tensor
    values: Tensor
    key_matrices: Tensor
    value_matrices: Tensor


Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Layer, queries (M, KV*G, D), keys and values (N, KV, D) of N tokens, M = N or those that are asked for, to attended
values (M, KV*G*D)."""


class Transformer:
    """A view of a `Qwen2ForCausalLM`: its weights, no weights of its own.

    Raises ModelError when the model is not made of plain linear layers, as while adapters hang on it.
    """

    def __init__(self, language: Any):
        config, model = language.config, language.model
        self._language = language
        self._heads, self._kv = config.num_attention_heads, config.num_key_value_heads
        self._width = config.hidden_size // self._heads
        self._scale, self._eps = self._width**-0.5, config.rms_norm_eps
        self._layers = [fuse(layer) for layer in model.layers]
        self._norm, self._embedding, self._head = model.norm.weight, model.embed_tokens.weight, language.lm_head.weight
        self._root_eps = self._norm.new_tensor(self._eps**0.5)
        self._cos = self._sin = self._embedding.new_empty(0, self._width)

    def is_current(self, language: Any) -> bool:
        """Whether this still is a view of that model's weights: moving or casting a model gives it new ones."""
        return (
            language is self._language
            and self._embedding is language.model.embed_tokens.weight
            and self._head is language.lm_head.weight
            and self._norm is language.model.norm.weight
            and self._embedding.device == self._cos.device
            and self._embedding.dtype == self._cos.dtype
            and all(mine.is_of(layer) for mine, layer in zip(self._layers, language.model.layers, strict=True))
        )

    @property
    def tables(self) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of all positions so far, float (positions, D)."""
        return self._cos, self._sin

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._embedding.device

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings (..., hidden) of token ids, int64 (...)."""
        return F.embedding(ids, self._embedding)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits, float (..., vocabulary), of final states (..., hidden)."""
        return F.linear(hidden, self._head)

    def prefill(self, embeds: Tensor) -> Prefix:
        """Read the beginning of B prompts, float (B, P, hidden)."""
        batch, length, _ = embeds.shape
        self._reserve(length)
        keys, values = self._empty(batch, length)

        def attend(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, keys[i], values[i] = (t.unflatten(0, (batch, -1)).transpose(1, 2) for t in (q, k, v))
            causal = q.shape[2] == length  # the last tokens alone see everything
            attended = F.scaled_dot_product_attention(
                q, keys[i], values[i], is_causal=causal, enable_gqa=self._heads != self._kv
            )
            return attended.transpose(1, 2).flatten(2).flatten(0, 1)

        positions = torch.arange(length, device=embeds.device).repeat(batch)
        last = torch.arange(1, batch + 1, device=embeds.device) * length - 1
        return Prefix(keys, values, self._run(embeds.flatten(0, 1), positions, attend, last))

    def extend(self, prefix: Prefix, ids: Sequence[int]) -> Prefix:
        """The prefix with the same tokens added to each of its prompts."""
        tokens = torch.tensor(ids, device=prefix.keys.device).expand(len(prefix.hidden), 1, -1)
        rows, hidden = self.start(prefix, tokens, torch.full_like(tokens[:, :, 0], len(ids)), len(ids))
        return Prefix(rows.keys, rows.values, hidden[:, 0])

    def start(self, prefix: Prefix, tokens: Tensor, lengths: Tensor, slots: int) -> tuple[Rows, Tensor]:
        """Begin F rows after each prompt of a prefix.

        tokens:  int64 (B, F, T), padded at the right with any id.
        lengths: int64 (B, F), how many of them count; at least one.
        slots:   S, room for these tokens and all that will follow; at least T.

        Returns the rows, and the final state of each one's last token, float (B, F, hidden).
        """
        rows, at = self._begin(prefix, tokens, lengths, slots)
        return rows, self._go_on(rows, tokens, at, lengths - 1)

    def step(self, rows: Rows, tokens: Tensor) -> Tensor:
        """Add one token, int64 (B, F), to each row; returns final states, float (B, F, hidden)."""
        hidden = self._go_on(rows, tokens[:, :, None], rows.used[:, :, None])
        rows.used.add_(1)
        return hidden[:, :, 0]

    def score(self, prefix: Prefix, continuations: Sequence[Sequence[int]]) -> Tensor:
        """How likely each continuation (ids, at least one) is after a prefix of one prompt.

        Returns float32 (N,), sums of the tokens' log-probabilities. The prefix is shared by all; tokens are read in
        passes of at most TOKENS_PER_PASS, or of one continuation.
        """
        device = prefix.keys.device
        first = self.logits(prefix.hidden[0]).float().log_softmax(-1)
        scores = first[torch.tensor([c[0] for c in continuations], device=device)]
        longer = sorted((i for i, c in enumerate(continuations) if len(c) > 1), key=lambda i: len(continuations[i]))
        longest = len(continuations[longer[-1]]) - 1 if longer else 1
        for chunk in _batched(longer, max(1, TOKENS_PER_PASS // longest)):
            tails = [continuations[i] for i in chunk]
            length = max(map(len, tails)) - 1
            given = torch.tensor([[*t[:-1], *[0] * (length + 1 - len(t))] for t in tails], device=device)
            asked = torch.tensor([[*t[1:], *[-100] * (length + 1 - len(t))] for t in tails], device=device)
            used = torch.tensor([[len(t) - 1 for t in tails]], device=device)
            rows, at = self._begin(prefix, given[None], used, length)
            logits = self.logits(self._go_on(rows, given[None], at)[0]).float().flatten(0, 1)
            loss = F.cross_entropy(logits, asked.flatten(), ignore_index=-100, reduction="none")
            scores[torch.tensor(chunk, device=device)] -= loss.view(len(chunk), length).sum(1)
        return scores

    def widen(self, rows: Rows, room: int) -> Rows:
        """The same rows with `room` slots each, more than they have."""
        count, old = len(rows.begins), rows.room
        self._reserve(rows.prefix + room)
        wide = self._rows(rows.keys.shape[1], count, rows.prefix, room, rows.used)
        for mine, given in ((wide.keys, rows.keys), (wide.values, rows.values)):
            mine[..., : rows.prefix, :] = given[..., : rows.prefix, :]
            tails = mine[..., rows.prefix :, :].unflatten(3, (count, room))
            tails[..., :old, :] = given[..., rows.prefix :, :].unflatten(3, (count, old))
        return wide

    def _begin(self, prefix: Prefix, tokens: Tensor, lengths: Tensor, slots: int) -> tuple[Rows, Tensor]:
        """Rows with room but nothing in it, and the slots of the tokens, int64 (B, F, T); see `start`."""
        batch, count, length = tokens.shape
        self._reserve(prefix.length + slots)
        rows = self._rows(batch, count, prefix.length, slots, lengths)
        rows.keys[..., : prefix.length, :], rows.values[..., : prefix.length, :] = prefix.keys, prefix.values
        return rows, torch.arange(length, device=tokens.device).expand(batch, count, -1)

    def _rows(self, batch: int, count: int, prefix: int, room: int, used: Tensor) -> Rows:
        keys, values = self._empty(batch, prefix + count * room)
        begins = torch.arange(count, device=used.device) * room + prefix
        slots = torch.arange(prefix + count * room, device=used.device) - begins[:, None]
        slots = slots.masked_fill((slots < 0) | (slots >= room), room)
        slots[:, :prefix] = -1
        return Rows(keys, values, slots, begins, used.clone(), prefix, room)

    def _go_on(self, rows: Rows, tokens: Tensor, at: Tensor, last: Tensor | None = None) -> Tensor:
        """Write tokens, int64 (B, F, T), into slots `at` of their rows.

        Returns final states, float (B, F, T, hidden), or (B, F, hidden) of the tokens whose numbers `last` (B, F) has.
        """
        batch, count, length = at.shape
        group, kept = self._heads // self._kv, None
        every = final = self._mask(rows, at)
        if last is not None:
            kept = torch.arange(batch * count, device=at.device) * length + last.flatten()
            final = self._mask(rows, last[:, :, None])
        place = (rows.begins[:, None] + at).view(batch, 1, -1, 1).expand(-1, self._kv, -1, self._width)

        def attend(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values, key_matrices, value_matrices = rows.layers[i]
            keys.scatter_(2, place, k.view(batch, -1, self._kv, self._width).transpose(1, 2))
            values.scatter_(2, place, v.view(batch, -1, self._kv, self._width).transpose(1, 2))
            asked, mask = len(q), final if i == len(self._layers) - 1 else every
            q = q.view(batch, -1, self._kv, group, self._width).transpose(1, 2).reshape(len(mask), -1, self._width)
            scores = torch.baddbmm(mask, q, key_matrices, alpha=self._scale)
            attended = scores.softmax(-1).bmm(value_matrices)
            return attended.view(batch, self._kv, -1, group * self._width).transpose(1, 2).reshape(asked, -1)

        hidden = self._run(self.embed(tokens.flatten()), rows.prefix + at.flatten(), attend, kept)
        return hidden.view(*(at.shape if last is None else last.shape), -1)

    def _mask(self, rows: Rows, at: Tensor) -> Tensor:
        """What tokens in slots `at` (B, F, T) add to their scores, float (B*KV, F*T*G, L): nothing, or minus infinity.

        They see the prefix and their own row up to themselves. Padding stands behind a row's tokens, so they do not see
        it.
        """
        hidden = rows.slots[:, None] > at[..., None]
        mask = rows.keys.new_zeros(len(at), self._kv, at[0].numel(), self._heads // self._kv, hidden.shape[-1])
        mask.masked_fill_(hidden.view(len(at), 1, -1, 1, hidden.shape[-1]), -torch.inf)
        return mask.flatten(2, 3).flatten(0, 1)

    def _run(self, x: Tensor, positions: Tensor, attend: Attend, kept: Tensor | None = None) -> Tensor:
        """All layers over embeddings (N, hidden) of tokens at absolute positions (N,).

        Returns final states, (N, hidden), or those of the tokens with the numbers `kept`: the last layer has no other
        use for the rest than their keys and values.
        """
        # Rotary position embedding, arXiv 2104.09864.
        cos, sin = self._cos[positions][:, None], self._sin[positions][:, None]
        for i, layer in enumerate(self._layers):
            qkv = F.linear(self._normalise(x, layer.attention_norm), layer.qkv, layer.qkv_bias)
            qk, v = qkv.view(len(x), -1, self._width).split((self._heads + self._kv, self._kv), dim=1)
            qk = torch.addcmul(qk * cos, qk.roll(self._width // 2, -1), sin)
            q, k = qk.split((self._heads, self._kv), dim=1)
            if kept is not None and i == len(self._layers) - 1:
                x, q = x[kept], q[kept]
            x = torch.addmm(x, attend(i, q, k, v), layer.output)
            gate, up = F.linear(self._normalise(x, layer.mlp_norm), layer.gate_up).chunk(2, dim=-1)
            x = torch.addmm(x, F.silu(gate).mul_(up), layer.down)
        return self._normalise(x, self._norm)

    def _normalise(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMSNorm (arXiv 1910.07467) of states (N, hidden)."""
        if x.is_cuda or x.dtype != torch.float32:
            return F.rms_norm(x, x.shape[-1:], weight, self._eps)
        # The same in five kernels, where PyTorch's own takes ten on a CPU.
        mean_root = torch.linalg.vector_norm(x, dim=-1, keepdim=True).mul_(x.shape[-1] ** -0.5)
        return (x / mean_root.hypot_(self._root_eps)).mul_(weight)

    def _reserve(self, positions: int) -> None:
        """Make the tables of cosines and sines long enough for that many positions."""
        if positions <= len(self._cos):
            return
        length = 1 << (positions - 1).bit_length()
        # From the configuration, in float32: a model that was cast has rounded its own frequencies.
        theta = float(self._language.config.rope_parameters["rope_theta"])
        device, half = self._embedding.device, self._width // 2
        frequencies = 1 / theta ** (torch.arange(half, dtype=torch.float32, device=device) / half)
        angles = torch.arange(length, dtype=torch.float32, device=device)[:, None] * frequencies
        cos, sin = angles.cos().to(self._embedding.dtype), angles.sin().to(self._embedding.dtype)
        # The halves of a head are exchanged by a roll, so the sign of "rotate half" lies in the table.
        self._cos, self._sin = torch.cat([cos, cos], dim=1), torch.cat([-sin, sin], dim=1)

    def _empty(self, batch: int, *shape: int) -> tuple[Tensor, Tensor]:
        sizes = (len(self._layers), batch, self._kv, *shape, self._width)
        return self._embedding.new_zeros(sizes), self._embedding.new_zeros(sizes)


def _batched(items: list[int], size: int) -> Iterator[list[int]]:
    return (items[i : i + size] for i in range(0, len(items), size))
