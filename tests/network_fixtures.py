"""Reads the parity fixtures of networks and operations, whole or thinned (see ``fixtures/repack.py``)."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import fixture_path
from safetensors.torch import load_file
from torch import Tensor

# Small copies that are not stored twice: which pickle of tests/fixtures holds the weights, and under which key.
_IN_PICKLES = {
    "sg3t_64": ("sg3t_64_legacy_p3.pkl", "G_ema"),
    "sg3r_64": ("sg3r_64.pkl", "G_ema"),
    "d_64_resnet": ("sg3r_64.pkl", "D"),
    "sgxl_stem_32": ("sgxl_stem_32.pkl", "G_ema"),
    "sgxl_superres_64": ("sgxl_superres_64.pkl", "G_ema"),
}


def full_path(name: str) -> Path:
    """Where a fixture lies; a test whose fixture is nowhere fails."""
    path = fixture_path(name)
    if path is None:
        pytest.fail(f"fixture {name} is neither in tests/fixtures nor in the folder named by EDITKIT_FIXTURES")
    return path


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkFixture:
    """One network: constructor arguments, weights, facts, and arrays observed on the reference implementation."""

    arguments: dict[str, Any]
    facts: dict[str, Any]
    weights: dict[str, Tensor]
    io: dict[str, np.ndarray]

    def tensor(self, key: str) -> Tensor:
        return torch.from_numpy(self.io[key])

    def seen(self, picture: Tensor) -> Tensor:
        """The pixels of a picture that the fixture kept: all, or every fourth of every fourth row."""
        stride = int(self.io.get("stride", 1))
        return picture[..., ::stride, ::stride]


@lru_cache(maxsize=8)
def network_fixture(name: str) -> NetworkFixture:
    """``network_fixture("sg3t_64")``."""
    facts = json.loads(full_path(f"networks/{name}.json").read_text())
    with np.load(full_path(f"networks/{name}_io.npz")) as stored:
        io = dict(stored)
    if "drawn" in facts and name.startswith("d_"):
        side, channels = (facts["init_kwargs"][f"img_{key}"] for key in ("resolution", "channels"))
        io["img"] = draw(facts["seed"], "img", (len(io["logits"]), channels, side, side)).numpy()
    elif "drawn" in facts:
        n, channels, side = len(io["z"]), facts["init_kwargs"]["img_channels"], facts["init_kwargs"]["img_resolution"]
        io["grad_r"] = draw(facts["seed"], "grad_r", (n, channels, side, side)).numpy()
    return NetworkFixture(arguments=facts["init_kwargs"], facts=facts, weights=_weights(name, facts), io=io)


def draw(seed: str, key: str, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32, the same everywhere and for ever (numpy froze this generator)."""
    stream = np.random.RandomState(zlib.crc32(f"{seed}/{key}".encode()))
    return torch.from_numpy(stream.standard_normal(shape)).float()


def drawn_weights(kind: str, facts: dict[str, Any]) -> dict[str, Tensor]:
    """Of small copies that come without (see ``fixtures/drawn.py``); filters are those that the network designs."""
    from editkit.networks import build_network

    state = build_network(kind, facts["init_kwargs"]).state_dict()
    for key, (mean, spread) in facts["drawn"].items():
        state[key] = draw(facts["seed"], key, tuple(state[key].shape)) * spread + mean
    return state


def _weights(name: str, facts: dict[str, Any]) -> dict[str, Tensor]:
    if "drawn" in facts:
        return drawn_weights("discriminator" if name.startswith("d_") else "stylegan2", facts)
    stored = fixture_path(f"networks/{name}.safetensors")
    if stored is not None or name not in _IN_PICKLES:
        return load_file(stored or full_path(f"networks/{name}.safetensors"))
    from editkit.checkpoints.official import import_official

    pickle, key = _IN_PICKLES[name]
    return dict(import_official(full_path(f"pickles/{pickle}"), networks=(key,))[key].tensors)


def layer_tables() -> dict[str, Any]:
    """Geometry of the six standard configurations."""
    return json.loads(full_path("networks/sg3_layer_tables.json").read_text())


@dataclass(frozen=True, kw_only=True, slots=True)
class OpCase:
    """One case of an operation: ``case["kwargs"]`` and arrays by the name after its id."""

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def has(self, key: str) -> bool:
        return key in self.arrays

    def tensor(self, key: str, *, grad: bool = False) -> Tensor | None:
        """None where the case has no such array."""
        if key not in self.arrays:
            return None
        return torch.from_numpy(self.arrays[key]).clone().requires_grad_(grad)

    def given(self, key: str, *, grad: bool = False) -> Tensor:
        """As ``tensor``, for arrays that every case has."""
        found = self.tensor(key, grad=grad)
        assert found is not None
        return found


def op_cases(op: str) -> list[Any]:
    """Parameters for ``pytest.mark.parametrize``: one ``OpCase`` each, named by its id."""
    cases = json.loads(full_path(f"ops/{op}.json").read_text())
    with np.load(full_path(f"ops/{op}.npz")) as stored:
        arrays = dict(stored)
    found = []
    for facts in cases:
        prefix = facts["id"] + "_"
        own = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        found.append(pytest.param(OpCase(facts=facts, arrays=own), id=facts["id"]))
    return found


def relative_error(actual: Tensor | np.ndarray, expected: Tensor | np.ndarray) -> float:
    """max|a - b| / max|b|, in float64; shapes must agree."""
    a, b = (torch.as_tensor(value).detach().double() for value in (actual, expected))
    assert a.shape == b.shape, f"shape {tuple(a.shape)} instead of {tuple(b.shape)}"
    return float((a - b).abs().max() / b.abs().max())


def absolute_error(actual: Tensor | np.ndarray, expected: Tensor | np.ndarray) -> float:
    """max|a - b|, in float64; shapes must agree."""
    a, b = (torch.as_tensor(value).detach().double() for value in (actual, expected))
    assert a.shape == b.shape, f"shape {tuple(a.shape)} instead of {tuple(b.shape)}"
    return float((a - b).abs().max()) if a.numel() else 0.0
