"""What a search moves, and the latent that it makes: rows of W or W+, styles, noise maps.

Convention: a mapping name -> tensor [N, ...]. "shared" [N, 1, w_dim] and "offsets" [N, rows, w_dim] are in standard
deviations of W along its principal axes, a row's code being ``mean + (shared + offset) @ axes``; "styles" [N, channels]
in standard deviations of each channel of StyleSpace; "noise" [N, pixels] are the maps of StyleGAN2, one after another;
"placed" [N, 4] is a placement, which rests (``projector.placement``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.labels import Classes
from editkit.latent import Latent
from projector.noise_maps import map_sizes, normalised, structure
from projector.statistics import WStatistics, drawn, sample_statistics

if TYPE_CHECKING:
    from editkit.generator import Generator
    from projector.optimise import Optimise

Values = Mapping[str, Tensor]
STYLE_SAMPLES = 512
"""Codes from which the spread of styles is read."""


class Variables:
    """The variables of ``method`` for ``G``."""

    def __init__(self, G: Generator, method: Optimise, classes: Classes | None) -> None:
        self.G, self.method = G, method
        self.statistics: WStatistics = sample_statistics(G, classes=classes)
        self.rows = 1 if method.space == "w" else G.spec.num_ws
        self.style_scale: dict[str, Tensor] = _style_scale(G, classes) if method.space == "s" else {}
        self.noise_sizes = map_sizes(G) if method.noise_maps is not None else {}

    def start(self, count: int) -> dict[str, Tensor]:
        """Where a search of ``count`` photos begins; placements are the caller's."""
        spec, device = self.G.spec, self.G.device
        made = {"shared": torch.zeros(count, 1, spec.w_dim, device=device)}
        if self.method.space != "w":
            made["offsets"] = torch.zeros(count, self.rows, spec.w_dim, device=device)
        if self.style_scale:
            made["styles"] = torch.zeros(count, sum(map(len, self.style_scale.values())), device=device)
        if self.noise_sizes:
            stored = torch.cat([part.flatten() for part in self.G.noise_maps.values()])  # type: ignore[attr-defined]
            made["noise"] = self.tidied({"noise": stored.expand(count, -1).clone()})["noise"]
        return made

    @property
    def peaks(self) -> dict[str, float]:
        """Peak learning rates."""
        m = self.method
        rates = {"shared": m.lr, "offsets": m.lr, "styles": m.style_lr}
        if m.noise_maps is not None:
            rates["noise"] = m.noise_maps.lr
        return rates

    def ws(self, values: Values) -> Tensor:
        """[N, num_ws, w_dim]."""
        codes = values["shared"]
        if "offsets" in values:
            codes = codes + values["offsets"]
            if self.method.placement is not None:
                # row 0 places the picture: not twice
                codes = torch.cat([torch.zeros_like(codes[:, :1]), codes[:, 1:]], 1)
        rows = self.statistics.mean + codes @ self.statistics.axes
        return rows.expand(-1, self.G.spec.num_ws, -1)

    def latent(self, values: Values) -> Latent:
        """In the method's space; differentiable."""
        spec = self.G.spec
        owner: dict[str, Any] = {"generator": spec.id, "parent": spec.parent_id}
        if self.noise_sizes:
            owner["noise"] = self._maps(values["noise"])
        ws = self.ws(values)
        if not self.style_scale:
            return Latent(space="w" if self.method.space == "w" else "w+", codes=ws, **owner)
        codes = dict(self.G.styles(Latent(space="w+", codes=ws, generator=spec.id, parent=spec.parent_id)).styles)  # type: ignore[attr-defined]
        moved = values["styles"].split([len(scale) for scale in self.style_scale.values()], 1)
        for (name, scale), part in zip(self.style_scale.items(), moved, strict=True):
            codes[name] = codes[name] + part * scale
        return Latent(space="s", codes=codes, **owner)

    def regularisers(self, values: Values) -> dict[str, Tensor]:
        """Weighted terms, each [N]."""
        weights, terms = self.method.weights, {}
        if weights.prior:
            terms["prior"] = weights.prior * values["shared"].square().mean([1, 2])
        if weights.spread and "offsets" in values:
            terms["spread"] = weights.spread * values["offsets"].square().mean([1, 2])
        if weights.styles and self.style_scale:
            terms["styles"] = weights.styles * values["styles"].square().mean(1)
        if self.method.noise_maps is not None:
            terms["noise"] = self.method.noise_maps.weight * structure(self._maps(values["noise"]))
        return terms

    def tidied(self, values: Values) -> dict[str, Tensor]:
        """``values`` where they may be: noise maps of mean 0 and variance 1."""
        made = dict(values)
        if "noise" in values:
            made["noise"] = torch.cat([normalised(part).flatten(1) for part in self._maps(values["noise"]).values()], 1)
        return made

    def _maps(self, flat: Tensor) -> dict[str, Tensor]:
        """[N, pixels] to layer -> [N, r, r]."""
        parts = flat.split([side**2 for side in self.noise_sizes.values()], 1)
        return {
            name: part.unflatten(1, (side, side))
            for (name, side), part in zip(self.noise_sizes.items(), parts, strict=True)
        }


def _style_scale(G: Generator, classes: Classes | None) -> dict[str, Tensor]:
    """Layer -> [C], standard deviations; without StyleGAN3's input, which places the picture. Raises UsageError."""
    if not hasattr(G, "styles"):
        raise UsageError(f"{G.spec.name!r} has no StyleSpace; search in w or w+")
    codes = drawn(G, STYLE_SAMPLES, classes=classes)[:, None].expand(-1, G.spec.num_ws, -1)
    with torch.no_grad():
        styles = G.styles(Latent(space="w", codes=codes, generator=G.spec.id, parent=G.spec.parent_id)).styles
    return {name: values.std(0) for name, values in styles.items() if name != "input"}
