"""Equivariance: operators and the complete metric against the reference, and properties."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from network_fixtures import full_path, network_fixture
from torch import Tensor

from editkit.errors import UsageError
from editkit.generator import NetworkGenerator, from_tensors, random_generator
from editkit.latent import Latent
from editkit.transform import Transform
from train.metrics.equivariance import Error, equivariance, measure
from train.metrics.equivariance_operators import (
    bandlimit_filter,
    lanczos_window,
    pseudo_rotate_fractional,
    rotate_fractional,
    transform_affine,
    translate_fractional,
    translate_integer,
)
from train.metrics.fresh import fresh_generator, parse_fresh


def cases() -> list[Any]:
    facts = json.loads(full_path("metrics/equivariance_ops.json").read_text())
    return [pytest.param(case, id=case["id"]) for case in facts]


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    with np.load(full_path("metrics/equivariance_ops.npz")) as stored:
        return {key: torch.from_numpy(value) for key, value in stored.items()}


@pytest.mark.parametrize("case", cases())
def test_every_operator(case: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    kind, options = case["func"], case.get("kwargs", case.get("filter_kwargs", {}))
    shape = {"a": options.get("a"), "reach": options.get("amax"), "support": options.get("aflt")}
    if kind == "construct_affine_bandlimit_filter":
        rest = {key: value for key, value in options.items() if key in ("up", "cutoff_in", "cutoff_out")}
        taps = bandlimit_filter(torch.tensor(case["mat"]), **shape, **rest)
        assert (taps - arrays[case["id"] + "_f"]).abs().max() <= 1e-6
        return
    x = arrays[case["input"]]
    if kind == "apply_integer_translation":
        found, mask = translate_integer(x, case["tx"], case["ty"])
    elif kind == "apply_fractional_translation":
        found, mask = translate_fractional(x, case["tx"], case["ty"], a=case["a"])
    elif kind == "apply_fractional_rotation":
        found, mask = rotate_fractional(x, case["angle"])
    elif kind == "apply_fractional_pseudo_rotation":
        found, mask = pseudo_rotate_fractional(x, case["angle"])
    else:
        found, mask = transform_affine(x, torch.tensor(case["mat"]), up=case["up"], **shape)
    tolerance = 2e-5 if "translation" in kind else 5e-5
    assert found.shape == mask.shape == x.shape
    assert (found - arrays[case["id"] + "_z"]).abs().max() <= tolerance
    assert torch.equal(mask[:1, :1].reshape(-1), arrays[case["id"] + "_m"].reshape(-1))


def test_the_window(arrays: dict[str, Tensor]) -> None:
    x = arrays["sinc_x"]
    assert (torch.sinc(x) - arrays["sinc_y"]).abs().max() <= 1e-6
    assert (lanczos_window(x, 3) - arrays["lanczos_a3_y"]).abs().max() <= 1e-6


def test_translations_of_a_wave_are_what_they_should_be() -> None:
    """A band-limited wave, moved to the right and down: x(t - shift)."""
    steps = (torch.arange(64) + 0.5) / 64

    def wave(dx: float, dy: float) -> Tensor:
        across, down = torch.sin(2 * math.pi * 5 * (steps - dx)), torch.cos(2 * math.pi * 3 * (steps - dy))
        return (down[:, None] * across[None])[None, None]

    for translate, shift, tolerance in ((translate_integer, 0.125, 1e-5), (translate_fractional, 0.0537, 0.02)):
        found, mask = translate(wave(0, 0), shift, shift / 2)
        assert ((found - wave(shift, shift / 2)) * mask).abs().max() < tolerance
        assert 0.5 < mask.mean() < 1
    turned, mask = rotate_fractional(wave(0, 0), math.pi / 2)
    assert ((turned - wave(0, 0).rot90(1, (2, 3))) * mask).abs().max() < 0.02  # rot90 turns counter-clockwise as seen


def reference(name: str) -> tuple[NetworkGenerator, Latent, dict[str, Any]]:
    facts = json.loads(full_path("metrics/equivariance_full.json").read_text())[name]
    fixture = network_fixture(name)
    header = {"kind": "stylegan3", "arguments": fixture.arguments, "id": "0" * 64, "name": name}
    G = from_tensors(fixture.weights, header, device=torch.device("cpu"))
    return G, Latent(space="w", codes=fixture.tensor("ws_psi1")[:2], generator="0" * 64), facts


def near(found: float, wanted: float) -> bool:
    return abs(found - wanted) <= (0.02 if wanted < 65 else 0.3)


@pytest.mark.parametrize("name", ["sg3t_64", "sg3r_64"])
def test_the_complete_metric(name: str) -> None:
    G, latent, facts = reference(name)
    with torch.no_grad():
        still = G.synthesize(latent, transform=Transform.identity())
        for draw in facts["fixed_draws"]:
            for theirs, ours, shift in (
                ("eqt_int", "eqt_integer", draw["t_int"]),
                ("eqt_frac", "eqt_fractional", draw["t_frac"]),
                ("eqr", "eqr", (0.0, 0.0)),
            ):
                found = measure(G, latent, still, ours, shift=tuple(shift), angle=draw["angle"])
                assert found.pixels == draw[theirs]["mask_sum"] and near(found.psnr, draw[theirs]["psnr"])
    seeded = facts["seeded"]
    result = equivariance(
        G, samples=seeded["num_samples"], batch=seeded["batch_size"], seed=seeded["torch_manual_seed"]
    )
    for theirs, ours in (("eqt_int", "eqt_integer"), ("eqt_frac", "eqt_fractional"), ("eqr", "eqr")):
        assert near(result.psnr[ours], seeded[theirs]), ours


def test_normalised_figures_do_not_depend_on_the_contrast() -> None:
    """Twice the contrast doubles every error: 6 dB less, but for the normalised figure."""
    faint, strong = (equivariance(random_generator(output_scale=scale), samples=2) for scale in (0.25, 0.5))
    assert strong.deviation == pytest.approx(2 * faint.deviation, rel=1e-4)
    for kind, value in faint.psnr.items():
        assert strong.psnr[kind] == pytest.approx(value - 20 * math.log10(2), abs=0.1)
        assert strong.normalised[kind] == pytest.approx(faint.normalised[kind], abs=0.1)
    change = faint.normalised["eqr"] - faint.psnr["eqr"]
    assert change == pytest.approx(20 * math.log10(faint.deviation / 0.5))


def test_fresh_networks_have_the_published_sizes() -> None:
    G = fresh_generator("stylegan3-r", resolution=32, narrower=32)
    assert (G.arguments["channel_base"], G.arguments["channel_max"]) == (2048, 32)
    assert G.arguments["conv_kernel"] == 1 and G.arguments["use_radial_filters"]
    assert parse_fresh("fresh:stylegan3-t-32/16").arguments["channel_max"] == 32
    for bad in ("fresh:stylegan3-t", "fresh:stylegan3-x-256", "fresh:stylegan3-t-8", "fresh:stylegan3-t-256/x"):
        with pytest.raises(UsageError, match="fresh network"):
            parse_fresh(bad)


def test_fresh_networks_move_with_their_content() -> None:
    """At the published depth and filters, an eighth of the channels; amplitudes normalised."""
    t, r = (equivariance(fresh_generator(f"stylegan3-{kind}", narrower=8), samples=1).normalised for kind in "tr")
    for figures in (t, r):
        assert min(figures["eqt_integer"], figures["eqt_fractional"]) > 50
    assert r["eqr"] >= t["eqr"] + 15


def test_bad_input() -> None:
    G = random_generator()
    with pytest.raises(UsageError, match="eqx"):
        equivariance(G, kinds=["eqx"])
    with pytest.raises(UsageError, match="samples"):
        equivariance(G, samples=0)
    with pytest.raises(UsageError, match="StyleGAN2"):
        equivariance(random_generator(kind="stylegan2"), samples=1)
    with pytest.raises(UsageError, match="no pixel"):
        _ = Error(squares=0.0, pixels=0.0).psnr
