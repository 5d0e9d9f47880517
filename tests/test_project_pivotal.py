"""Pivotal tuning: what it promises, on small random networks; and the delta's file and its use by the commands."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from linear_generator import LinearGenerator
from project_fixtures import G, checkpoint, one_line, photo, pixels, project, warmth
from torch import Tensor

from editkit import cli
from editkit.alignment import AlignedPhoto, align
from editkit.errors import CheckpointError, GeneratorMismatchError, SchemaError, UsageError
from editkit.generator import NetworkGenerator, load_generator, random_generator, save_generator
from editkit.photo import Photo, read_photo
from editkit.rendering import render
from editkit.seeds import z_from_seeds
from editkit.tensorfile import write_tensors
from editkit.weight_delta import DELTA_SCHEMA, KIND, WeightDelta
from projector import Locality, Optimise, Pivotal, Step, Stop, pivotal, tuned
from projector import project as found_for
from projector.losses import Weights
from projector.methods import method_named

PIXELS = Weights(perceptual=0.0)
SEARCH = Optimise(steps=12, weights=PIXELS)
QUICK = Pivotal(inner=SEARCH, steps=25, lr=3e-3, weights=PIXELS)


@pytest.fixture
def face(G: NetworkGenerator, photo: Path) -> AlignedPhoto:
    return align(read_photo(photo), G.spec, convention="centre")


def test_it_comes_closer_and_the_given_generator_stays_as_it_is(G: NetworkGenerator, face: AlignedPhoto) -> None:
    before = G.state_dict()
    steps: list[Step] = []
    found = found_for(G, face, QUICK, on_step=steps.append)
    pivot = found_for(G, face, SEARCH)
    assert torch.equal(found.latent.tensor, pivot.latent.tensor) and found.latent.generator == G.spec.id
    assert found.metrics["psnr"] > pivot.metrics["psnr"] + 2
    assert all(torch.equal(before[name], weight) for name, weight in G.state_dict().items())
    shown = tuned(G, found.tuning)
    assert torch.equal(render(shown, found.latent, transform=found.transform), found.image)
    assert not torch.equal(render(G, found.latent), found.image)
    assert [step.index for step in steps] == list(range(len(steps))) and tuple(steps) == found.history
    assert all(a.progress <= b.progress for a, b in pairwise(steps)) and steps[-1].progress > 0.9
    assert found.method["name"] == "pivotal" and found.method["inner"]["name"] == "optimise"


def test_the_tuned_generator_is_a_child_that_takes_its_parents_latents(G: NetworkGenerator, face, tmp_path) -> None:
    found = found_for(G, face, QUICK)
    shown = tuned(G, found.tuning)
    assert shown.spec.parent_id == G.spec.id and shown.spec.id not in (G.spec.id, None)
    save_generator(shown, tmp_path / "tuned.safetensors")
    again = load_generator(tmp_path / "tuned.safetensors", device="cpu")
    assert (again.spec.id, again.spec.parent_id) == (shown.spec.id, G.spec.id)
    assert torch.equal(render(again, found.latent), found.image)


@pytest.mark.parametrize("kind", ["stylegan3", "stylegan2", "stylegan_xl"])
def test_only_the_layers_asked_for_are_tuned(kind: str) -> None:
    G = random_generator(resolution=32, kind=kind)
    face = align(Photo(image=torch.zeros(1, 3, 32, 32)), G.spec, convention="centre")
    layers = list(G.styles(G.map(torch.zeros(1, G.spec.z_dim))).styles)
    quick = {"inner": Optimise(steps=1, weights=PIXELS), "steps": 3, "weights": PIXELS}
    found = found_for(G, face, Pivotal(layers=layers[2], **quick))
    assert all(name.startswith(f"synthesis.{layers[2]}.") for name in found.tuning.tensors)
    assert any(bool(delta.any()) for delta in found.tuning.tensors.values())
    every = found_for(G, face, Pivotal(**quick)).tuning.tensors
    assert {name.split(".")[0] for name in every} == {"synthesis"} and not any(".input." in name for name in every)
    assert set(found.tuning.tensors) < set(every)
    with pytest.raises(UsageError, match=f"no layers none-such; its layers are {layers[0]}"):
        found_for(G, face, Pivotal(layers=("none-such",), **quick))


def test_locality_keeps_other_pictures_as_they_were(G: NetworkGenerator, face: AlignedPhoto) -> None:
    others = G.map(z_from_seeds(range(6), G.spec.z_dim))
    before = render(G, others)

    def change(locality: Locality | None) -> float:
        method = Pivotal(inner=SEARCH, steps=25, lr=3e-3, weights=PIXELS, locality=locality)
        found = found_for(G, face, method)
        assert ("locality" in found.history[-1].losses) is (locality is not None)
        return float((render(tuned(G, found.tuning), others) - before).square().mean())

    assert change(Locality(weight=3.0, samples=2)) < 0.7 * change(None)


def test_locality_is_an_option_of_the_command(G: NetworkGenerator) -> None:
    made = [method_named("pivotal", G, locality=on) for on in (False, True)]
    assert [method.locality for method in made if isinstance(method, Pivotal)] == [None, Locality()]


@pytest.mark.parametrize("after", [3, 15])
@pytest.mark.parametrize("stop_by", ["false", "ctrl-c"])
def test_stopping_keeps_the_best_so_far(G: NetworkGenerator, face: AlignedPhoto, after: int, stop_by: str) -> None:
    """During the search there is no delta yet; during the tuning there is one."""

    def on_step(step: Step) -> bool:
        if step.index + 1 < after:
            return True
        if stop_by == "ctrl-c":
            raise KeyboardInterrupt
        return False

    found = found_for(G, face, QUICK, on_step=on_step)
    assert found.stop is Stop.CANCELLED and len(found.history) == after
    assert (found.tuning is None) is (after <= SEARCH.steps)


def test_a_budget_ends_the_tuning(G: NetworkGenerator, face: AlignedPhoto, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(10**6))
    monkeypatch.setattr("projector.driving.time.monotonic", lambda: next(now))
    found = found_for(G, face, Pivotal(inner=SEARCH, steps=10**6, budget=20, weights=PIXELS))
    assert found.stop is Stop.BUDGET and 12 < len(found.history) < 40


def test_infinite_losses_go_back_to_the_best(G: NetworkGenerator, face, monkeypatch, caplog) -> None:
    real, calls = pivotal.PictureLoss.__call__, [0]

    def broken(self, images: Tensor) -> dict[str, Tensor]:
        calls[0] += 1
        terms = real(self, images)
        return {name: value * torch.inf for name, value in terms.items()} if calls[0] in (16, 17) else terms

    monkeypatch.setattr(pivotal.PictureLoss, "__call__", broken)
    found = found_for(G, face, QUICK)
    assert sum("not finite" in record.message for record in caplog.records) == 2
    assert found.stop is Stop.MAX_STEPS and found.metrics["psnr"] > 0
    assert all(bool(torch.isfinite(delta).all()) for delta in found.tuning.tensors.values())


def test_a_tuning_that_cannot_be_saved_says_so(G: NetworkGenerator, face, monkeypatch) -> None:
    real, calls = pivotal.PictureLoss.__call__, [0]

    def broken(self, images: Tensor) -> dict[str, Tensor]:
        calls[0] += 1
        return {name: value * (torch.nan if calls[0] > 14 else 1) for name, value in real(self, images).items()}

    monkeypatch.setattr(pivotal.PictureLoss, "__call__", broken)
    found = found_for(G, face, QUICK)
    assert found.stop is Stop.DIVERGED and len(found.history) < 25
    assert all(bool(torch.isfinite(delta).all()) for delta in found.tuning.tensors.values())


def test_wrong_use(G: NetworkGenerator, face: AlignedPhoto) -> None:
    for options in ({"steps": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"budget": 0.0}, {"inner": Pivotal()}):
        with pytest.raises(UsageError):
            Pivotal(**options)
    for options in ({"weight": 0.0}, {"samples": 0}, {"distance": -1.0}):
        with pytest.raises(UsageError, match="leave it out"):
            Locality(**options)
    with pytest.raises(UsageError, match="one photo at a time, got 2"):
        QUICK.find(G, torch.zeros(2, 3, 32, 32), perceptual=None)
    with pytest.raises(UsageError, match="not a network of editkit"):
        QUICK.find(LinearGenerator(), torch.zeros(1, 3, 8, 8), perceptual=None)


# The delta and its file


def delta_for(G: NetworkGenerator, **tensors: Tensor) -> WeightDelta:
    name = next(name for name in G.state_dict() if name.endswith(".weight"))
    return WeightDelta(tensors={name: torch.ones_like(G.state_dict()[name])} | tensors, generator=G.spec.id)


def test_a_delta_is_read_as_it_was_written_and_refuses_other_generators(G: NetworkGenerator, tmp_path: Path) -> None:
    delta = delta_for(G).halved()
    delta.save(tmp_path / "d.safetensors")
    again = WeightDelta.load(tmp_path / "d.safetensors")
    assert (again.generator, again.parent) == (G.spec.id, None)
    assert {n: t.dtype for n, t in again.tensors.items()} == dict.fromkeys(delta.tensors, torch.float16)
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in delta.tensors.items())
    with pytest.raises(GeneratorMismatchError, match=G.spec.id[:12]):
        tuned(random_generator(seed=1, resolution=32), again)
    with pytest.raises(UsageError, match="not a network"):
        tuned(LinearGenerator(), WeightDelta(tensors=delta.tensors, generator=LinearGenerator().spec.id))


def test_bad_deltas_are_refused(G: NetworkGenerator, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such weights"):
        tuned(G, delta_for(G, other=torch.ones(3)))
    name = next(iter(delta_for(G).tensors))
    with pytest.raises(CheckpointError, match="may be damaged"):
        tuned(G, delta_for(G, **{name: torch.ones(3)}))
    with pytest.raises(CheckpointError, match="NaN"):
        delta_for(G, other=torch.tensor([torch.nan]))
    with pytest.raises(CheckpointError, match="no such file"):
        WeightDelta.load(tmp_path / "none.safetensors")
    path, header = tmp_path / "x.safetensors", {"generator": G.spec.id}
    write_tensors(path, {"a": torch.ones(1)}, kind=KIND, schema=DELTA_SCHEMA + 1, header=header)
    with pytest.raises(SchemaError, match="newer"):
        WeightDelta.load(path)
    write_tensors(path, {"a": torch.ones(1)}, kind="latent", schema=1, header=header)
    with pytest.raises(CheckpointError, match="where a weight-delta is needed"):
        WeightDelta.load(path)
    write_tensors(path, {"a": torch.tensor([torch.inf])}, kind=KIND, schema=DELTA_SCHEMA, header=header)
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        WeightDelta.load(path)
    write_tensors(path, {"a": torch.ones(1)}, kind=KIND, schema=DELTA_SCHEMA, header={})
    with pytest.raises(CheckpointError, match="id of its generator"):
        WeightDelta.load(path)


# The commands


def test_the_command_writes_a_delta_that_edit_uses(
    project, photo: Path, checkpoint: Path, warmth, tmp_path, capsys
) -> None:
    assert project(photo, "--method", "pivotal", "--edit", "warmth=1.5") == 0
    me = tmp_path / "out" / "me"
    report = json.loads((me / "report.json").read_text())
    assert "tuning.safetensors" in report["files"] and (
        report["method"]["steps"],
        report["method"]["inner"]["steps"],
    ) == (3, 3)
    edit = ["edit", me, "--edit", "warmth=1.5", "--generator", checkpoint, "--device", "cpu", "--out"]
    assert cli.main([str(word) for word in [*edit, tmp_path / "with.png"]]) == 0
    assert (pixels(tmp_path / "with.png") == pixels(me / "edited.png")).all()
    G, delta = load_generator(checkpoint, device="cpu"), WeightDelta.load(me / "tuning.safetensors")
    assert delta.generator == G.spec.id
    (me / "tuning.safetensors").unlink()
    assert cli.main([str(word) for word in [*edit, tmp_path / "without.png"]]) == 0
    assert (pixels(tmp_path / "without.png") != pixels(me / "edited.png")).any()
    capsys.readouterr()
    assert project(photo, "--method", "pivotal", "--edit", "warmth=1.5") == 0  # a file is missing: done again
    assert "done before" not in capsys.readouterr().out and (me / "tuning.safetensors").is_file()
    assert project(photo, "--method", "pivotal", "--edit", "warmth=1.5") == 0
    assert "done before" in capsys.readouterr().out
    assert project(photo, "--method", "w+", "--edit", "warmth=1.5") == 0  # no delta goes with this latent
    assert not (me / "tuning.safetensors").exists() and (me / "latent.safetensors").is_file()


def test_edit_refuses_the_delta_of_another_generator(project, photo: Path, checkpoint: Path, tmp_path, capsys) -> None:
    assert project(photo, "--edit", "none") == 0
    me = tmp_path / "out" / "me"
    delta_for(random_generator(seed=3, resolution=32)).save(me / "tuning.safetensors")
    capsys.readouterr()
    assert cli.main(["edit", str(me), "--edit", "none", "--generator", str(checkpoint), "--device", "cpu"]) == 1
    assert "weight delta is for generator" in one_line(capsys)
