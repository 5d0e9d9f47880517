"""A StyleGAN3 with more channels that makes the same pictures: training goes on where the narrower one ended.

Source of the idea: Chen et al. 2016, "Net2Net: Accelerating Learning via Knowledge Transfer". Here new channels are not
copies: nothing that was there reads them at first (weights of zero, which gradients reach), they read everything.
Demodulation makes a layer's picture independent of the scale of its weights, so nothing else has to be matched but
the two factors of StyleGAN3 that count channels, of the input and of ToRGB.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.networks.stylegan3 import StyleGAN3Generator

_WIDTHS = ("channel_base", "channel_max")


def grown(
    state: dict[str, Tensor], arguments: dict[str, Any], wider: dict[str, Any], *, seed: int = 0
) -> dict[str, Tensor]:
    """The weights ``state`` of ``StyleGAN3Generator(**arguments)`` as those of ``StyleGAN3Generator(**wider)``.

    Pictures are the same up to rounding. ``seed``: of the new channels.

    Raises UsageError where the two differ in more than their channels, or a layer would lose some.
    """
    others = sorted(n for n in {*arguments, *wider} - {*_WIDTHS} if arguments.get(n) != wider.get(n))
    if others:
        raise UsageError(f"only {' and '.join(_WIDTHS)} can grow; these differ too: {', '.join(others)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        old, new = StyleGAN3Generator(**arguments), StyleGAN3Generator(**wider)
    old.load_state_dict(state)
    lost = [
        f"{a.geometry.name} has {a.geometry.out_channels} channels, of {b.geometry.out_channels}"
        for a, b in zip(new.synthesis.layers(), old.synthesis.layers(), strict=True)
        if a.geometry.out_channels < b.geometry.out_channels
    ]
    if lost:
        raise UsageError(f"a network does not shrink: {'; '.join(lost)}")
    new.mapping.load_state_dict(old.mapping.state_dict())
    with torch.no_grad():
        _take(new.synthesis.input, old.synthesis.input)
        kept = len(old.synthesis.input.weight)
        new.synthesis.input.weight[:kept].mul_((len(new.synthesis.input.weight) / kept) ** 0.5)
        for after, before in zip(new.synthesis.layers(), old.synthesis.layers(), strict=True):
            _take(after, before)
            if before.geometry.is_torgb:
                after.weight.mul_((after.geometry.in_channels / before.geometry.in_channels) ** 0.5)
    return new.state_dict()


def grown_run(state: dict[str, Any], wider: dict[str, Any]) -> dict[str, Any]:
    """The state of a run of ``train.starter`` with its generator and the average of it ``grown``.

    The optimizer of the synthesis begins anew, all else goes on. Raises UsageError as ``grown``.
    """
    arguments = state["config"]["generator"]
    networks = {name: grown(state[name], arguments, wider) for name in ("generator", "average") if name in state}
    optimizers = {name: value for name, value in state.get("optimizers", {}).items() if name != "synthesis"}
    return state | networks | {"optimizers": optimizers, "config": state["config"] | {"generator": dict(wider)}}


def _take(new: torch.nn.Module, old: torch.nn.Module) -> None:
    """The old values in the first places of the new ones; no old channel reads a new one."""
    for (name, after), before in zip(new.state_dict().items(), old.state_dict().values(), strict=True):
        if name == "weight":
            after[: before.shape[0]] = 0.0
        after[tuple(slice(size) for size in before.shape)] = before
