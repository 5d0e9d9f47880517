"""A mapping network that is written down, and one that learns the rest.

``write_affine`` carries z through all layers: two hidden units hold each z, one its positive part and one its
negative; leaky ReLUs of slope a give z back as their difference over 1 + a. ``teach`` goes on from there with pairs of
z and w, such as a flow gives: what is left to learn is what is not affine. A mapping network that learned all of it,
along with a run, lagged behind: its samples had 72 % of the variance that it was taught.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.networks.mapping import MappingNetwork
from editkit.ops.bias_act import ACTIVATIONS
from editkit.schedule import rise_and_fall

log = logging.getLogger(__name__)

PAIRS, STEPS, BATCH, RATE = 150_000, 6000, 1024, 1e-3
_DRAWN = 2000  # pairs at a time


def write_affine(mapping: MappingNetwork, weight: Tensor, bias: Tensor) -> None:
    """Makes ``mapping`` the affine map from z, brought to unit mean square, to ``weight`` [w, z] @ z + ``bias``.

    What comes out of the last layer is affine where it is positive. Hidden units that are left keep their random
    weights and are not read, for a fine-tuning to use. ``w_avg`` becomes ``bias``.

    Raises UsageError for a network of other than two or more unconditional layers of leaky ReLUs, or too few hidden
    units.
    """
    size, (first, *inner) = mapping.z_dim, mapping.layers()
    bends = {layer.activation for layer in (first, *inner)} != {"lrelu"}
    if bends or not inner or mapping.c_dim or len(first.weight) < 2 * size:
        raise UsageError(
            f"a mapping can be written of two or more layers of leaky ReLUs, without labels, of {2 * size} hidden "
            "units or more"
        )
    *inner, last = inner
    gain, slope = ACTIVATIONS["lrelu"].gain, ACTIVATIONS["lrelu"].alpha
    eye = torch.eye(size, device=weight.device)
    both = torch.cat([eye, -eye])  # from z to its parts; back again by its transpose
    with torch.no_grad():
        first.weight[: 2 * size] = both / first.weight_gain
        for layer in inner:
            layer.weight[: 2 * size] = 0
            layer.weight[: 2 * size, : 2 * size] = both @ both.t() / (gain * (1 + slope) * layer.weight_gain)
        last.weight.zero_()
        read = weight / (gain * gain * (1 + slope) * last.weight_gain)
        last.weight[:, : 2 * size] = read @ both.t()
        for layer in (first, *inner):
            assert layer.bias is not None
            layer.bias.zero_()
        assert last.bias is not None
        last.bias.copy_(bias / (gain * last.bias_gain))
        if mapping.w_avg is not None:
            mapping.w_avg.copy_(bias)


def teach(
    mapping: MappingNetwork,
    wanted: Callable[[Tensor], Tensor],
    *,
    pairs: int = PAIRS,
    steps: int = STEPS,
    seed: int = 0,
) -> None:
    """Brings ``mapping`` nearer to ``wanted``, from z [N, z_dim] to w [N, w_dim]; of 64 z and 256 w that takes
    three minutes of two cores.

    The error is the mean square over w's dimensions, which should be of one size. ``w_avg`` becomes the mean of what
    it gives.
    """
    random = torch.Generator().manual_seed(seed)
    device = mapping.layers()[0].weight.device
    z = torch.randn(pairs, mapping.z_dim, generator=random).to(device)
    w = torch.cat([wanted(part) for part in z.split(_DRAWN)])
    groups = []
    for layer in mapping.layers():
        assert layer.bias is not None
        groups.append({"params": [layer.weight], "rate": RATE / layer.weight_gain})
        groups.append({"params": [layer.bias], "rate": RATE / layer.bias_gain})
    trained = [p.requires_grad_() for group in groups for p in group["params"]]
    optimizer = torch.optim.Adam(groups, lr=0.0)
    for step in range(steps):
        share = rise_and_fall(step, steps, rise=50)
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * share
        rows = torch.randint(pairs, (min(BATCH, pairs),), generator=random).to(device)
        loss = (_w(mapping, z[rows]) - w[rows]).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if (step + 1) % 1000 == 0 or step in (0, steps - 1):
            log.info("mapping: step %d of %d, off by %.4f", step + 1, steps, float(loss.detach()))
    with torch.no_grad():
        for parameter in trained:
            parameter.requires_grad_(False)
        if mapping.w_avg is not None:
            mapping.w_avg.copy_(torch.cat([_w(mapping, part) for part in z.split(_DRAWN)]).mean(0))


def _w(mapping: MappingNetwork, z: Tensor) -> Tensor:
    """One row for all layers."""
    found = mapping(z)
    return found if mapping.num_ws is None else found[:, 0]
