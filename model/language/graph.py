"""One step of decoding as a CUDA graph: a few hundred kernels launched at once, not one by one from Python."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from model.language.transformer import Rows, Transformer

log = logging.getLogger(__name__)

_GRAPHS_KEPT, _BYTES_KEPT = 4, 1 << 30
"""Each graph holds the keys and values of its rows besides itself."""


class Step:
    """Adds tokens to rows, one to each at a time. rows: as they are now; they belong to the step."""

    def __init__(self, transformer: Transformer, rows: Rows):
        self._transformer, self.rows = transformer, rows

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens, int64 (B, F), to the logits of the next ones, float (B, F, V), which are good until the next call."""
        return self._transformer.logits(self._transformer.step(self.rows, tokens))


class Stepper:
    """Lends steps of decoding: graphs to replay on CUDA, plain calls elsewhere.

    capture: makes a step for rows of one shape; by default a CUDA graph, on CUDA alone. One that cannot be made, for
             want of memory or support, is done without, which the log says once.
    """

    def __init__(self, transformer: Transformer, capture: Callable[[Transformer, Rows], StaticStep] | None = None):
        self._transformer = transformer
        self._capture = capture or (_Graph if transformer.device.type == "cuda" else None)
        self._idle: OrderedDict[tuple[int, ...], StaticStep | None] = OrderedDict()

    @contextmanager
    def lend(self, rows: Rows) -> Iterator[Step]:
        """A step for these rows. A graph that is lent is nobody else's until it is given back."""
        key = (*rows.keys.shape, *rows.used.shape, rows.prefix)
        static = self._take(key, rows)
        if static is None:
            yield Step(self._transformer, rows)
            return
        try:
            static.load(rows)
            yield static
        finally:
            self._idle[key] = static
            while len(self._idle) > _GRAPHS_KEPT or len(self._idle) > 1 and self._nbytes > _BYTES_KEPT:
                self._idle.popitem(last=False)

    def _take(self, key: tuple[int, ...], rows: Rows) -> StaticStep | None:
        if self._capture is None:
            return None
        if key in self._idle:
            static = self._idle.pop(key)
            if static is None:
                self._idle[key] = None  # it failed once, and would again
            return static
        try:
            return self._capture(self._transformer, rows)
        except RuntimeError as error:  # torch's errors of CUDA, out of memory too, are all of this kind
            log.warning("decoding without a CUDA graph: %s", error)
            self._idle[key] = None
            return None

    @property
    def _nbytes(self) -> int:
        return sum(static.nbytes for static in self._idle.values() if static is not None)


class StaticStep(Step):
    """A step whose tensors stay where they are, so that rows of one shape, one after the other, run through it.

    Owns the memory that it reads and writes. Works on any device; on CUDA, `_Graph` captures it.
    """

    def __init__(self, transformer: Transformer, rows: Rows):
        mine: dict[str, Any] = {name: torch.empty_like(tensor) for name, tensor in _tensors(rows).items()}
        super().__init__(transformer, replace(rows, **mine))
        self._tables = transformer.tables  # a graph reads them where they are now, even after they have grown
        self._tokens = torch.zeros_like(rows.used)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(tensor.nbytes for tensor in _tensors(self.rows).values())

    def load(self, rows: Rows) -> None:
        """Take over the rows that are to be continued."""
        given = _tensors(rows)
        for name, mine in _tensors(self.rows).items():
            mine.copy_(given[name])

    def __call__(self, tokens: Tensor) -> Tensor:
        self._tokens.copy_(tokens)
        return self._run()

    def _run(self) -> Tensor:
        return super().__call__(self._tokens)


class _Graph(StaticStep):
    """A step that was captured, and is replayed."""

    def __init__(self, transformer: Transformer, rows: Rows):
        super().__init__(transformer, rows)
        # Streams and graphs belong to the current device, which need not be the one of the rows.
        with torch.cuda.device(rows.keys.device):
            # The libraries' workspaces must be there before the capture: hence some steps on a stream of their own.
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2):
                    self.load(rows)
                    eager = super()._run().clone()
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._logits = super()._run()
            self.load(rows)
            if not torch.allclose(self._run(), eager, rtol=0.01, atol=0.01, equal_nan=True):
                raise RuntimeError("the captured step does not say what the step said")

    def _run(self) -> Tensor:
        self._graph.replay()
        return self._logits


def _tensors(rows: Rows) -> dict[str, Tensor]:
    return {name: value for name, value in vars(rows).items() if isinstance(value, Tensor)}
