"""Codes in W+ to pictures, recorded as a CUDA graph for each number of codes (``editkit.graphs``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from editkit.graphs import differentiable
from editkit.latent import Latent

if TYPE_CHECKING:
    from editkit.generator import Generator


class RecordedSynthesis:
    """``G.synthesize`` of W+, [N, num_ws, w_dim] to [N, 3, R, R], differentiable; recorded anew where N changes.

    The pictures of a call are valid until the next.
    """

    def __init__(self, G: Generator) -> None:
        self.G = G
        self._recorded: tuple[int, Callable[[Tensor], Tensor]] | None = None

    def __call__(self, ws: Tensor) -> Tensor:
        if self._recorded is None or self._recorded[0] != len(ws):
            self._recorded = (len(ws), differentiable(self._synthesize, ws))
        return self._recorded[1](ws)

    def _synthesize(self, ws: Tensor) -> Tensor:
        spec = self.G.spec
        return self.G.synthesize(Latent(space="w+", codes=ws, generator=spec.id, parent=spec.parent_id))
