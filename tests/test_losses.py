"""The games against the reference, phase by phase, and what they promise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_fixtures import full_path, network_fixture
from torch import Tensor, nn

from editkit.networks.discriminator import Discriminator
from editkit.networks.stylegan2 import StyleGAN2Generator
from editkit.networks.stylegan3 import StyleGAN3Generator
from train.fading import BlurFade
from train.losses import Batch, Game, NonSaturating, Relativistic, frozen, gradient_penalty
from train.path_length import PathLength
from train.streams import SampleStreams

NAMES = {
    "Loss/scores/real": "scores/real",
    "Loss/scores/fake": "scores/fake",
    "Loss/signs/real": "signs/real",
    "Loss/signs/fake": "signs/fake",
    "Loss/r1_penalty": "penalty/r1",
    "Loss/D/reg": "loss/D/r1",
    "Loss/D/loss": "loss/D",
    "Loss/G/loss": "loss/G",
    "Loss/pl_penalty": "penalty/path_length",
    "Loss/G/reg": "loss/G/path_length",
}


class Noise:
    """The path length noise of the fixture."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def field(self, name: str, count: int, shape: Sequence[int]) -> Tensor:
        assert name == "path_length" and list(self.values.shape) == [count, *shape]
        return self.values

    uniform = normal = field  # type: ignore[assignment]  # these phases draw nothing else


def cases() -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in json.loads(full_path("loss/loss.json").read_text())]


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(full_path("loss/loss.npz")) as stored:
        return dict(stored)


def networks(case: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    made = []
    for name, kinds in ((case["G"], (StyleGAN2Generator, StyleGAN3Generator)), (case["D"], (Discriminator,) * 2)):
        fixture = network_fixture(name)
        network = kinds[name.startswith("sg3")](**fixture.arguments)
        network.load_state_dict(fixture.weights)
        made.append(network.train())
    return made[0], made[1]


@pytest.mark.parametrize("case", cases())
def test_every_phase(case: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    G, D = networks(case)
    given = {key: torch.from_numpy(arrays[f"{case['G']}__{key}"]) for key in ("z", "real_img", "real_c", "gen_c", "pl_randn")}
    options = case["loss_kwargs"]
    path_length = PathLength(weight=options["pl_weight"]) if "pl_weight" in options else PathLength()
    path_length.mean = torch.tensor(case["pl_mean_before"])
    blur = None
    if "blur_init_sigma" in options:
        blur = BlurFade(sigma=options["blur_init_sigma"], images=options["blur_fade_kimg"] * 1000)
    game = NonSaturating(
        G, D, gamma=options.get("r1_gamma", 0.0), path_length=path_length, blur=blur,
        synthesis_options={"noise_mode": "const"} if case["G"].startswith("sg2") else {},
    )  # fmt: skip
    batch = Batch(
        z=given["z"], source=Noise(given["pl_randn"]), seen=case["cur_nimg"],
        label=given["gen_c"], real=given["real_img"], real_label=given["real_c"],
    )  # fmt: skip
    buffers = {name: value.clone() for name, value in G.named_buffers()}
    phase = case["phase"]
    if phase == "Gmain":
        report = game.play_generator(batch, gain=case["gain"])
    elif phase == "Greg":
        report = game.regularise_generator(batch, gain=case["gain"])
    else:
        play, penalise = phase in ("Dmain", "Dboth"), phase in ("Dreg", "Dboth")
        report = game.play_discriminator(batch, gain=case["gain"], play=play, penalise=penalise)
    assert path_length.mean.item() == pytest.approx(case["pl_mean_after"], rel=1e-5)
    for theirs, values in case["reported"].items():
        wanted = torch.tensor(values)
        assert (report[NAMES[theirs]] - wanted).abs().max() <= 1e-5 * wanted.abs().max(), theirs
    assert len(report) == len(case["reported"])
    moved = [name for name, value in G.named_buffers() if not torch.equal(value, buffers[name])]
    assert bool(moved) == (phase in ("Dmain", "Dboth")), moved  # running means, in the discriminator's phase only
    network = D if phase.startswith("D") else G
    other = G if phase.startswith("D") else D
    assert all(parameter.grad is None for parameter in other.parameters())
    names = [str(name) for name in arrays[f"{case['id']}__param_names"]]
    tolerance = 5e-3 if phase == "Greg" else 1e-3
    seen = {name for name, parameter in network.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    assert seen <= set(names)
    for name, norm, total in zip(
        names, arrays[f"{case['id']}__param_l2"], arrays[f"{case['id']}__param_sum"], strict=True
    ):
        gradient = network.get_parameter(name).grad
        found = torch.zeros(1) if gradient is None else gradient
        assert abs(found.double().norm().item() - norm) <= tolerance * norm + 1e-12, name
        assert abs(found.double().sum().item() - total) <= tolerance * max(norm, abs(total)) + 1e-12, name
