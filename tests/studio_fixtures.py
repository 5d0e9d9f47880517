"""Shared by the tests of the page without a browser: a studio, a visitor's tabs, a tuned face."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch

from editkit.direction import Direction
from editkit.generator import NetworkGenerator
from editkit.page.desk import Piece
from editkit.page.options import Options
from editkit.page.studio import Studio
from editkit.rendering import render
from editkit.sampling import sample_w
from editkit.weight_delta import WeightDelta


@pytest.fixture
def studio(checkpoint: Path, tmp_path: Path) -> Studio:
    return Studio(Options(generator=str(checkpoint), device="cpu", steps=2), tmp_path)


@pytest.fixture
def mine(warmth: Direction) -> Direction:
    return replace(warmth, name="mine", method="examples")


def piece_of(studio: Studio, tuning: WeightDelta | None = None) -> Piece:
    latent = sample_w(studio.G, [1])
    piece = Piece(name="me", latent=latent, transform=None, picture=torch.zeros(1, 3, 32, 32), tuning=tuning)
    return replace(piece, picture=render(studio.painter(piece), latent).clamp(-1, 1))


@pytest.fixture
def tuning(G: NetworkGenerator) -> WeightDelta:
    name, weight = [(name, weight) for name, weight in G.state_dict().items() if weight.ndim == 4][-1]
    return WeightDelta(tensors={name: torch.full_like(weight, 0.2)}, generator=G.spec.id)


@pytest.fixture
def tabs(studio: Studio) -> SimpleNamespace:
    """The tabs of a page over ``studio``, and a request of one visitor."""
    from editkit.page.batch_tab import BatchTab
    from editkit.page.drag_tab import DragTab
    from editkit.page.edit_tab import EditTab
    from editkit.page.explore_tab import ExploreTab
    from editkit.page.mix_tab import MixTab

    with gr.Blocks():
        bar = gr.Tabs()
        edit = EditTab(studio, [], bar)
        mix = MixTab(studio, edit, bar)
        drag, batch = DragTab(studio, edit, bar), BatchTab(studio)
        explore = ExploreTab(studio, edit, bar)
    made = {"edit": edit, "mix": mix, "drag": drag, "batch": batch, "explore": explore}
    return SimpleNamespace(**made, request=SimpleNamespace(session_hash="a", username=None))
