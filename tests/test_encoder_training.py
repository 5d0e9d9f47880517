"""How the encoder is trained: its start, its pairs, its state; judging it, and its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_fixtures import TINY, G, file, jacobians, photographs, picture
from PIL import Image

from editkit import cli
from editkit.checkpoints.header import read_header
from editkit.checkpoints.native import read_checkpoint, write_checkpoint
from editkit.errors import CheckpointError, TrainingDataError, UsageError
from editkit.generator import MODELS, NetworkGenerator, random_generator, save_generator
from editkit.perceptual import Bundled
from projector.curvature import Curvature
from projector.encoder import load_encoder
from projector.encoder_network import SIDE, EncoderNetwork, coarse
from projector.losses import multiscale_mse
from projector.refine import Refine, RefineSearch
from projector.statistics import sample_statistics
from train.dataset import open_dataset
from train.encoder import EncoderConfig, EncoderTraining
from train.encoder_card import encoder_card
from train.encoder_curvature import measure_curvature, principal_curvature
from train.encoder_evaluation import evaluate_encoder, unseen_photos
from train.encoder_run import train_encoder
from train.encoder_samples import SamplePool, render
from train.encoder_start import coarse_jacobian, start_linear_path
from train.photo_codes import PhotoCodes, find_photo_codes
from train.state_file import load_state


def test_the_linear_path_starts_as_a_step_of_gauss_and_newton(G: NetworkGenerator) -> None:
    """Where pictures hardly differ from the mean face, the first look explains most of what the path sees of it."""
    statistics = sample_statistics(G)
    jacobian = coarse_jacobian(G, statistics, torch.zeros(G.spec.num_ws, G.spec.w_dim))
    codes = 0.02 * torch.randn(4, 1, G.spec.w_dim).expand(-1, G.spec.num_ws, -1)
    with torch.no_grad():
        mean = render(G, statistics, torch.zeros_like(codes))
        image = render(G, statistics, codes)
        seen = [coarse(torch.nn.functional.interpolate(x, size=(SIDE, SIDE), mode="bilinear")) for x in (image, mean)]
        assert torch.allclose(codes.flatten(1) @ jacobian.t(), seen[0] - seen[1], atol=0.1 * float(seen[0].std()))
        network = EncoderNetwork(num_ws=G.spec.num_ws, w_dim=G.spec.w_dim, rank=768)
        start_linear_path(network, jacobian, seen[0] - seen[1])
        network.shared.weight[:, : network.hidden_size] = 0  # what the convolutions say
        network.offsets.weight[:, : network.hidden_size] = 0
        made = render(G, statistics, network(image, mean))
    assert float((made - image).square().mean()) < 0.3 * float((mean - image).square().mean())


def test_pairs_say_how_far_their_codes_are_apart(G: NetworkGenerator) -> None:
    pool = SamplePool(G, sample_statistics(G), size=20, seed=0)
    pool.add(12)
    pool.add(12)
    assert len(pool) == 20
    image, beside, difference = pool.pairs(64)
    assert image.shape == beside.shape == (64, 3, 16, 16) and difference.shape == (64, G.spec.num_ws, G.spec.w_dim)
    pictures, codes = (image - beside).flatten(1).norm(dim=1), difference.flatten(1).norm(dim=1)
    assert torch.corrcoef(torch.stack([pictures, codes]))[0, 1] > 0.3
    from_mean = (beside - pool.start_image).flatten(1).abs().amax(1) == 0
    assert 16 <= int(from_mean.sum()) <= 48


def test_variables_and_codes_are_inverses_and_strong_directions_shrink() -> None:
    gradients = torch.randn(400, 2, 12) * torch.logspace(1, -3, 12)
    gradients[:, 1] *= 0.01
    curvature = principal_curvature(gradients, rank=10)
    codes = torch.randn(7, 24)
    assert torch.allclose(curvature.to_codes(curvature.to_variables(codes)), codes, atol=1e-4)
    moved = curvature.to_codes(torch.eye(24)).norm(dim=1)
    assert float(moved[0]) < 0.05 and float(moved[11]) == pytest.approx(1, abs=1e-3)
    assert bool((moved[12:] >= 0.5).all())  # a row that hardly changes the picture
    assert bool((curvature.shrink.diff(dim=1) >= 0).all())


def test_the_measured_curvature_is_that_of_the_loss(G: NetworkGenerator) -> None:
    """Along a kept direction the loss round a sample rises more than along a random one."""
    statistics = sample_statistics(G)
    curvature = measure_curvature(G, statistics, codes=16)
    codes = torch.zeros(1, G.spec.num_ws, G.spec.w_dim)

    def rise(direction: torch.Tensor) -> float:
        with torch.no_grad():
            before, after = render(G, statistics, codes), render(G, statistics, codes + 0.1 * direction.view_as(codes))
        return float(multiscale_mse(before, after, scales=3))

    middle = torch.zeros(4, *codes.shape[1:])
    middle[:, 2] = curvature.basis[2, :4]
    random = torch.zeros(8, *codes.shape[1:])
    random[:, 2] = torch.nn.functional.normalize(torch.randn(8, G.spec.w_dim))
    strong = sum(rise(row) for row in middle) / 4
    assert strong > 1.5 * sum(rise(row) for row in random) / 8


def test_training_goes_on_where_it_stopped(G: NetworkGenerator, tmp_path: Path) -> None:
    photos = open_dataset(photographs(tmp_path / "photos"), resolution=16, channels=3)
    state = tmp_path / "run.state"
    seen: list[int] = []
    short = EncoderConfig(steps=2, pool=16, batch=4, samples=4, searched=0)
    train_encoder(G, photos, short, perceptual=Bundled(), state=state)
    first = load_state(state)
    assert first["step"] == 2 and first["seconds"] > 0
    longer = EncoderConfig(steps=3, pool=16, batch=4, samples=4, searched=6)
    _, progress, nowhere = train_encoder(
        G, photos, longer, perceptual=Bundled(), state=state, on_progress=lambda p: seen.append(p.step)
    )
    assert progress.step == 3 and seen == [3] and progress.seconds > first["seconds"]
    assert nowhere is None  # a run that began at the mean stays there
    assert {"codes", "pixel", "perceptual", "spread", "prior"} <= set(progress.losses)
    other = random_generator(seed=2, resolution=16)
    with pytest.raises(CheckpointError, match="go on from is of generator"):
        train_encoder(other, None, longer, perceptual=Bundled(), state=state)


def test_drawn_codes_lie_where_those_that_were_found_do() -> None:
    random = torch.Generator().manual_seed(0)
    found = PhotoCodes.of(3 + torch.randn(40, 2, 8, generator=random) * torch.linspace(0.5, 4, 8))
    drawn = found.draw(4000, random)
    assert torch.allclose(drawn.mean(0), found.mean, atol=0.3)
    wanted = (found.apart.square().sum(0) / 39 + 0.2**2).sqrt()
    assert torch.allclose(drawn.std(0), wanted, rtol=0.1)
    assert PhotoCodes.of(torch.ones(1, 2, 8)).draw(3, random).isfinite().all()


def test_an_encoder_begins_where_codes_of_photographs_lie(G: NetworkGenerator, tmp_path: Path) -> None:
    """Their mean is nearer to the code of a photograph that was not searched for than the mean of W; kept in a state,
    it is not looked for again."""
    statistics = sample_statistics(G)
    codes = torch.randn(9, 1, G.spec.w_dim, generator=torch.Generator().manual_seed(1)) + 1.5
    with torch.no_grad():
        images = render(G, statistics, codes.expand(-1, G.spec.num_ws, -1)).clamp(-1, 1)
    (tmp_path / "photos").mkdir()
    for index, image in enumerate(images):
        pixels = ((image.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
    photos = open_dataset(tmp_path / "photos", resolution=16, channels=3)
    told: list[tuple[int, int]] = []
    curvature = measure_curvature(G, statistics, codes=16)
    every = find_photo_codes(
        G, photos, statistics, curvature, perceptual=Bundled(), count=20, steps=20,
        on_batch=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(8, 9), (9, 9)] and every.apart.shape == (9, G.spec.num_ws, G.spec.w_dim)
    last = every.mean + every.apart[8]
    others = PhotoCodes.of((every.mean + every.apart)[:8])
    assert float((last - others.mean).norm()) < float(last.norm())

    state, config = tmp_path / "s", EncoderConfig(steps=1, pool=16, batch=4, samples=4, searched=8)
    network, _, lying = train_encoder(G, photos, config, perceptual=Bundled(), state=state)
    assert lying is not None and torch.equal(network.start, lying.mean)
    again = EncoderTraining(G, photos, EncoderConfig(steps=2, searched=9), perceptual=Bundled())
    again.load_state_dict(load_state(state))
    again.look_for_photos(lambda done, total: pytest.fail("looked for again"))
    with pytest.raises(CheckpointError, match="had another seed"):
        EncoderTraining(G, photos, EncoderConfig(seed=1), perceptual=Bundled()).load_state_dict(load_state(state))
    with pytest.raises(CheckpointError, match="had other photographs"):
        EncoderTraining(G, None, EncoderConfig(), perceptual=Bundled()).load_state_dict(load_state(state))
    assert again.photo_codes is not None and torch.equal(again.photo_codes.mean, lying.mean)
    assert torch.equal(again.network.start, lying.mean)


def test_ctrl_c_while_photographs_are_searched_for_keeps_none_of_them(
    G: NetworkGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photos = open_dataset(photographs(tmp_path / "photos", count=9), resolution=16, channels=3)
    few = EncoderTraining(G, photos, EncoderConfig(searched=2), perceptual=Bundled())
    few.look_for_photos()
    assert few.photo_codes is None and "fewer than 8 photographs" in caplog.text

    def pressed(self: RefineSearch, progress: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RefineSearch, "advance", pressed)
    with pytest.raises(KeyboardInterrupt):
        train_encoder(G, photos, EncoderConfig(), perceptual=Bundled(), state=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_the_curvature_goes_where_the_generator_is(G: NetworkGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is measured on the processor; a generator on a GPU searches there ("meta" stands for one)."""
    curvature = measure_curvature(G, sample_statistics(G), codes=8)
    elsewhere = curvature.to(torch.device("meta"))
    assert elsewhere.basis.device.type == elsewhere.shrink.device.type == "meta"
    asked: list[torch.device] = []
    monkeypatch.setattr(Curvature, "to", lambda self, device: asked.append(device) or self)
    Refine().lanes(G, perceptual=Bundled(), curvature=curvature)
    assert asked == [G.device]


def test_a_file_of_before_encoders_had_a_start_begins_at_the_mean(
    G: NetworkGenerator, file: Path, tmp_path: Path
) -> None:
    checkpoint = read_checkpoint(file)
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if name != "start"}
    header = {name: value for name, value in checkpoint.header.items() if name != "id"}
    write_checkpoint(tmp_path / "old.safetensors", tensors, header)
    network, _ = load_encoder(G, tmp_path / "old.safetensors")
    assert torch.equal(network.start, torch.zeros(G.spec.num_ws, G.spec.w_dim))


def test_ctrl_c_keeps_the_state(G: NetworkGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = EncoderTraining.advance

    def pressed(self: EncoderTraining) -> dict[str, float]:
        if self.step == 2:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(EncoderTraining, "advance", pressed)
    with pytest.raises(KeyboardInterrupt):
        train_encoder(G, None, EncoderConfig(steps=9, pool=16, batch=4), perceptual=Bundled(), state=tmp_path / "s")
    assert load_state(tmp_path / "s")["step"] == 2


def test_what_no_encoder_can_learn_is_refused(G: NetworkGenerator, tmp_path: Path) -> None:
    classes = random_generator(resolution=16, c_dim=3)
    with pytest.raises(UsageError, match="unconditional RGB"):
        train_encoder(classes, None, TINY, perceptual=Bundled())
    grey = open_dataset(photographs(tmp_path / "grey"), resolution=16, channels=1)
    with pytest.raises(TrainingDataError, match="takes RGB"):
        train_encoder(G, grey, TINY, perceptual=Bundled())


def test_training_teaches(G: NetworkGenerator) -> None:
    """Steps lower the error of the codes of what is in the pool."""
    config = EncoderConfig(steps=1000, pool=16, batch=4, samples=32, learning_rate=2e-3, regression=1.0)
    training = EncoderTraining(G, None, config, perceptual=Bundled())
    training.prepare()
    pool = training.pool
    assert pool is not None
    pool.add = lambda count: None  # type: ignore[method-assign]
    image, beside, difference = pool.pairs(96)

    def error() -> float:
        with torch.no_grad():
            return float((training.network(image, beside) - difference).square().mean())

    before = error()
    for _ in range(40):
        training.advance()
    assert error() < 0.9 * before


def test_the_command_trains_and_the_projector_takes_it(
    G: NetworkGenerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_generator(G, tmp_path / "g.safetensors")
    out, photo = tmp_path / "e.safetensors", tmp_path / "me.png"
    options = ["--generator", str(tmp_path / "g.safetensors"), "--device", "cpu"]
    photos = photographs(tmp_path / "photos", count=9)
    sizes = ["--steps", "2", "--pool", "16", "--batch", "4", "--searched", "8"]
    assert cli.main(["train", "encoder", "--data", str(photos), "--out", str(out), *options, *sizes, "--quiet"]) == 0
    header = read_header(out)
    assert header["kind"] == "encoder" and header["training"]["generator"] == G.spec.id
    assert header["training"]["steps"] == 2 and header["training"]["data"] == "photos"
    assert bool((load_encoder(G, out)[0].start != 0).any())
    Image.fromarray(np.full((32, 32, 3), 120, np.uint8)).save(photo)
    shared = [str(photo), "--align", "centre", "--edit", "none", *options, "--encoder", str(out), "--quiet"]
    for method, name in (("encode", "encode"), ("auto", "encode+optimise")):
        steps = ["--steps", "2"] if method == "auto" else []
        folder = tmp_path / name
        assert cli.main(["project", *shared, "--out", str(folder), "--method", method, *steps]) == 0
        assert f'"name": "{name}"' in (folder / "me" / "report.json").read_text()
    capsys.readouterr()
    assert cli.main(["project", *shared, "--out", str(tmp_path / "no"), "--method", "w"]) == 2
    assert "takes no encoder" in capsys.readouterr().err
    assert cli.main(["train", "encoder", "--evaluate", str(out), *options]) == 2


def test_judging_and_the_card(G: NetworkGenerator, file: Path, tmp_path: Path) -> None:
    photos = torch.cat([picture(G, seed) for seed in range(3)]).clamp(-1, 1)
    figures = evaluate_encoder(G, file, photos, perceptual=Bundled())
    assert figures["photos"] == 3 and figures["psnr_1"] <= figures["psnr_5"] < 60
    network, curvature = load_encoder(G, file)
    header = read_header(file)
    header["training"]["evaluation"] = figures
    counts = {"parameters": sum(p.numel() for p in network.parameters()), "directions": curvature.shrink.shape[1]}
    card = encoder_card(file.name, file.stat().st_size, header, **counts)
    assert G.spec.id in card and f"{figures['psnr_5']:.2f} dB" in card
    assert unseen_photos(photographs(tmp_path / "plain"), 16, 4) is None
    assert MODELS.is_dir()
