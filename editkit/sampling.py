"""Seeds to latents: what a generator makes of its own random codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from editkit.errors import UsageError
from editkit.labels import Classes, labels_for_seeds
from editkit.latent import Latent
from editkit.seeds import z_from_seeds

if TYPE_CHECKING:
    from editkit.generator import Generator


def sample_z(G: Generator, seeds: Sequence[int]) -> Latent:
    """Z codes of ``seeds``, on the CPU. Raises UsageError for a bad seed."""
    return Latent(space="z", codes=z_from_seeds(seeds, G.spec.z_dim), generator=G.spec.id, parent=G.spec.parent_id)


def sample_w(
    G: Generator,
    seeds: Sequence[int],
    *,
    classes: Classes | None = None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
) -> Latent:
    """Codes of ``seeds`` in w (or w+, see ``Generator.map``), without gradients.

    Args:
        classes: of a conditional generator, see ``editkit.labels``; drawn for each seed by default.
        truncation_psi, truncation_cutoff: see ``Generator.map``.

    Raises:
        UsageError: a bad seed or class, or a cutoff outside 0 to num_ws.
    """
    check_cutoff(G, truncation_cutoff)
    z = z_from_seeds(seeds, G.spec.z_dim).to(G.device)
    label = labels_for_seeds(G.spec, seeds, classes)
    with torch.no_grad():
        return G.map(
            z,
            label=None if label is None else label.to(G.device),
            truncation_psi=truncation_psi,
            truncation_cutoff=truncation_cutoff,
        )


def check_cutoff(G: Generator, truncation_cutoff: int | None) -> None:
    """Raises UsageError for a cutoff outside 0 to num_ws."""
    if truncation_cutoff is not None and not 0 <= truncation_cutoff <= G.spec.num_ws:
        raise UsageError(f"truncation_cutoff is 0 to {G.spec.num_ws} for {G.spec.name!r}, got {truncation_cutoff}")
