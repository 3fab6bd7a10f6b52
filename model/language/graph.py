"""One step of decoding as a CUDA graph: a few hundred kernels launched at once, not one by one from Python."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from model.language.transformer import Rows, Transformer

log = logging.getLogger(__name__)

_GRAPHS_KEPT = 4
"""Each holds the keys and values of its prompts besides the graph."""


class Stepper:
    """Begins steps of decoding: replayed graphs on CUDA, plain calls elsewhere."""

    def __init__(self, transformer: Transformer):
        self._transformer = transformer
        self._graphs: OrderedDict[tuple[torch.Size, ...], _Graph | None] = OrderedDict()

    def begin(self, rows: Rows) -> Callable[[Tensor], Tensor]:
        """What adds one token, int64 (B, F), to each row, and returns the logits of the next one, float (B, F, V).

        The logits of a graph are good until the next call, and the callable until the next `begin`. A graph that
        cannot be captured, for want of memory or support, is done without, which the log says once.
        """
        graph = self._graph(rows) if rows.keys.device.type == "cuda" else None
        if graph is not None:
            graph.load(rows)
            return graph
        return lambda tokens: self._transformer.logits(self._transformer.step(rows, tokens))

    def _graph(self, rows: Rows) -> _Graph | None:
        shapes = rows.keys.shape, rows.used.shape
        if shapes not in self._graphs:
            while len(self._graphs) >= _GRAPHS_KEPT:
                self._graphs.popitem(last=False)
            try:
                self._graphs[shapes] = _Graph(self._transformer, rows)
            except RuntimeError as error:  # torch's errors of CUDA, out of memory too, are all of this kind
                log.warning("decoding without a CUDA graph: %s", error)
                self._graphs[shapes] = None
        self._graphs.move_to_end(shapes)
        return self._graphs[shapes]


class StaticStep:
    """A step whose tensors stay where they are, so that rows of one shape, one after the other, run through it.

    Owns the memory that it reads and writes. Works on any device; on CUDA, `_Graph` captures it.
    """

    def __init__(self, transformer: Transformer, rows: Rows):
        self._transformer = transformer
        self._tables = transformer.tables  # a graph reads them where they are now, even after they have grown
        self._rows = Rows(*(torch.empty_like(tensor) for tensor in _tensors(rows)))
        self._tokens = torch.zeros_like(rows.used)

    def load(self, rows: Rows) -> None:
        """Take over the rows that are to be continued."""
        for mine, given in zip(_tensors(self._rows), _tensors(rows), strict=True):
            mine.copy_(given)

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens, int64 (B, F), to the logits of the next ones, float (B, F, V)."""
        self._tokens.copy_(tokens)
        return self._run()

    def _run(self) -> Tensor:
        return self._transformer.logits(self._transformer.step(self._rows, self._tokens))


class _Graph(StaticStep):
    """A step that was captured, and is replayed."""

    def __init__(self, transformer: Transformer, rows: Rows):
        super().__init__(transformer, rows)
        # The libraries' workspaces must be there before the capture: hence some steps on a stream of their own.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self.load(rows)
                super()._run()
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = super()._run()

    def _run(self) -> Tensor:
        self._graph.replay()
        return self._logits


def _tensors(rows: Rows) -> tuple[Tensor, ...]:
    return rows.keys, rows.values, rows.slots, rows.begins, rows.used
