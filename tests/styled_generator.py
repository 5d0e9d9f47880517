"""The generator of two matrices with a StyleSpace: an input that is not driven, and two layers whose maps are known."""

from __future__ import annotations

import torch
from linear_generator import LinearGenerator
from torch import Tensor

from editkit.latent import Latent


class StyledGenerator(LinearGenerator):
    """Layer L1 (row 1) is 3 w[0] and w[1], L2 (row 2) 5 w[2] and 2 w[3]; pixel (0, i) is a tenth of channel i
    of L1, then L2."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.basis = torch.eye(4)
        self.matrices = {"input": torch.zeros(4, 4), "L1": torch.zeros(2, 4), "L2": torch.zeros(2, 4)}
        self.matrices["L1"][0, 0], self.matrices["L1"][1, 1] = 3.0, 1.0
        self.matrices["L2"][0, 2], self.matrices["L2"][1, 3] = 5.0, 2.0
        self.style_rows = {"input": 0, "L1": 1, "L2": 2}

    def styles(self, latent: Latent) -> Latent:
        rows = latent.require("w", "w+").check(self.spec).tensor.unbind(1)
        codes = {name: row @ matrix.T + 1.0 for row, (name, matrix) in zip(rows, self.matrices.items(), strict=True)}
        return Latent(space="s", codes=codes, generator=self.spec.id, parent=self.spec.parent_id)

    def synthesize(self, latent: Latent, *, transform=None) -> Tensor:
        styles = (latent if latent.space == "s" else self.styles(latent)).check(self.spec).styles
        size = self.spec.resolution
        values = 0.1 * torch.cat([styles["L1"], styles["L2"]], dim=1)  # [N, 4]
        return torch.nn.functional.pad(values[:, None, None].expand(-1, 3, 1, 4), (0, size - 4, 0, size - 1))
