"""The encoder: its network, its method, the file it is kept in, and how it is trained. Tiny networks throughout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import projector
from editkit import cli
from editkit.alignment import AlignedPhoto, align
from editkit.checkpoints.header import read_header
from editkit.errors import CheckpointError, GeneratorMismatchError, TrainingDataError, UsageError
from editkit.generator import MODELS, NetworkGenerator, load_generator, random_generator, save_generator
from editkit.perceptual import Bundled
from editkit.photo import Photo
from editkit.sampling import sample_w
from projector import Auto, Encode, EncodeThenOptimise, Optimise, Pivotal, Refine, Stop
from projector.encoder import fitting_encoder, load_encoder
from projector.encoder_network import SIDE, EncoderNetwork, coarse
from projector.losses import multiscale_mse
from projector.methods import NAMES, method_named
from projector.statistics import WStatistics, sample_statistics
from train.dataset import open_dataset
from train.encoder import EncoderConfig, EncoderTraining, train_encoder
from train.encoder_card import encoder_card
from train.encoder_curvature import measure_curvature, principal_curvature
from train.encoder_evaluation import evaluate_encoder, unseen_photos, write_encoder
from train.encoder_samples import SamplePool, render
from train.encoder_start import coarse_jacobian, start_linear_path
from train.state_file import load_state

TINY = EncoderConfig(steps=3, pool=48, batch=4, samples=4)


@pytest.fixture(scope="module")
def G() -> NetworkGenerator:
    return random_generator(resolution=16, output_scale=0.8, alignment="centre")


@pytest.fixture(scope="module")
def file(G: NetworkGenerator, jacobians: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of G, trained on samples alone for a moment."""
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    network, progress = train_encoder(G, None, TINY, perceptual=Bundled())
    curvature = measure_curvature(G, sample_statistics(G), codes=16)
    write_encoder(path, network, curvature, G, data=None, progress=progress)
    return path


@pytest.fixture(scope="module", autouse=True)
def jacobians() -> Iterator[None]:
    """Each generator's is computed once."""
    known: dict[str, torch.Tensor] = {}

    def once(G: NetworkGenerator, statistics: WStatistics) -> torch.Tensor:
        if G.spec.id not in known:
            known[G.spec.id] = coarse_jacobian(G, statistics)
        return known[G.spec.id]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.encoder.coarse_jacobian", once)
        yield


def picture(G: NetworkGenerator, seed: int) -> torch.Tensor:
    with torch.no_grad():
        return G.synthesize(sample_w(G, [seed]))


def face(G: NetworkGenerator, seed: int) -> AlignedPhoto:
    return align(Photo(image=picture(G, seed).clamp(-1, 1)), G.spec, convention="centre")


def test_an_update_depends_on_both_pictures_and_not_on_the_batch() -> None:
    network = EncoderNetwork(num_ws=5, w_dim=16).eval()
    photo, other = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        both = network(photo, other)
        assert both.shape == (2, 5, 16)
        assert torch.allclose(both[1:], network(photo[1:], other[1:]), atol=1e-6)
        assert not torch.allclose(both, network(photo, photo), atol=1e-4)
        assert not torch.allclose(both, network(other, other), atol=1e-4)
    rebuilt = EncoderNetwork(**network.arguments)  # type: ignore[arg-type]
    assert {k: v.shape for k, v in rebuilt.state_dict().items()} == {
        k: v.shape for k, v in network.state_dict().items()
    }


def test_sizes_that_make_no_network_are_refused() -> None:
    with pytest.raises(UsageError, match="four widths"):
        EncoderNetwork(num_ws=5, w_dim=16, widths=(8, 8))


def test_the_linear_path_starts_as_a_step_of_gauss_and_newton(G: NetworkGenerator) -> None:
    """Where pictures hardly differ from the mean face, the first look explains most of what the path sees of it."""
    statistics = sample_statistics(G)
    jacobian = coarse_jacobian(G, statistics)
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
    from_mean = (beside - pool.mean_image).flatten(1).abs().amax(1) == 0
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


def test_looks_move_the_code_and_the_best_is_kept(G: NetworkGenerator, file: Path) -> None:
    found = projector.project(G, face(G, 3), Encode(iterations=3, encoder=str(file)))
    assert found.stop is Stop.ENCODED and "encode+optimise" in found.stop.advice
    assert found.method["name"] == "encode" and len(found.history) == 3
    assert found.latent.space == "w+" and found.latent.tensor.shape == (1, G.spec.num_ws, G.spec.w_dim)
    losses = [step.losses["loss"] for step in found.history]
    again = projector.project(G, face(G, 3), Encode(iterations=1 + losses.index(min(losses)), encoder=str(file)))
    assert torch.equal(again.latent.tensor, found.latent.tensor)


def test_samples_of_a_batch_do_not_interact(G: NetworkGenerator, file: Path) -> None:
    targets = torch.cat([picture(G, 1), picture(G, 2)])
    for method in (Encode(iterations=2, encoder=str(file)), EncodeThenOptimise(steps=4, encoder=str(file))):
        both = method.find(G, targets, perceptual=Bundled()).latent.tensor
        alone = method.find(G, targets[1:], perceptual=Bundled()).latent.tensor
        assert torch.allclose(both[1:], alone, atol=1e-3)


def test_in_w_the_rows_are_equal(G: NetworkGenerator, file: Path) -> None:
    for method in (Encode(space="w", encoder=str(file)), EncodeThenOptimise(steps=3, space="w", encoder=str(file))):
        latent = method.find(G, picture(G, 1), perceptual=Bundled()).latent
        assert latent.space == "w" and torch.equal(latent.tensor, latent.tensor[:, :1].expand_as(latent.tensor))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_search_goes_on_from_the_code(G: NetworkGenerator, file: Path, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        encoded = Encode(encoder=str(file)).find(G, picture(G, 4), perceptual=Bundled())
        found = EncodeThenOptimise(steps=12, encoder=str(file)).find(G, picture(G, 4), perceptual=Bundled())
    finally:
        torch.set_num_threads(before)
    best = min(step.losses["loss"] for step in encoded.history)
    assert found.history[0].losses["loss"] == pytest.approx(best, rel=1e-3)
    assert min(step.losses["loss"] for step in found.history) < 0.7 * best


def test_stopping_keeps_the_best_so_far(G: NetworkGenerator, file: Path) -> None:
    found = Encode(encoder=str(file)).find(G, picture(G, 4), perceptual=Bundled(), on_step=lambda step: False)
    assert found.stop is Stop.CANCELLED and len(found.history) == 1

    def press(step: projector.Step) -> None:
        raise KeyboardInterrupt

    method = EncodeThenOptimise(encoder=str(file))
    found = method.find(G, picture(G, 4), perceptual=Bundled(), on_step=press)
    assert found.stop is Stop.CANCELLED and bool(torch.isfinite(found.latent.tensor).all())


def test_another_generator_is_refused_with_the_command_that_helps(file: Path) -> None:
    other = random_generator(seed=1, resolution=16)
    with pytest.raises(GeneratorMismatchError, match=r"editkit train encoder --generator random-1"):
        Encode(encoder=str(file)).find(other, picture(other, 0), perceptual=Bundled())
    with pytest.raises(CheckpointError, match=r"no encoder is at hand .*editkit train encoder --generator random-1"):
        load_encoder(other)
    assert fitting_encoder(other) is None


def test_a_file_that_is_no_encoder_is_refused(G: NetworkGenerator, tmp_path: Path) -> None:
    save_generator(G, tmp_path / "g.safetensors")
    with pytest.raises(CheckpointError, match="an encoder file is needed"):
        load_encoder(G, tmp_path / "g.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        load_encoder(G, tmp_path / "broken.safetensors")
    with pytest.raises(CheckpointError):
        load_encoder(G, tmp_path / "missing.safetensors")


def test_the_bundled_encoder_is_of_the_bundled_generator_and_small() -> None:
    bundled = load_generator(device="cpu")
    path = fitting_encoder(bundled)
    assert path is not None, "the bundled encoder is of another generator: editkit rebuild trains it anew"
    assert path.stat().st_size <= 5_000_000
    assert path.with_suffix(".md").is_file() and bundled.spec.id in path.with_suffix(".md").read_text("utf-8")
    mean = load_encoder(bundled)[0](torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    assert mean.shape == (1, bundled.spec.num_ws, bundled.spec.w_dim)


def test_the_bundled_encoder_finds_samples(tmp_path: Path) -> None:
    bundled = load_generator(device="cpu")
    with torch.no_grad():
        target = bundled.synthesize(sample_w(bundled, [11, 12], truncation_psi=0.7))
        mean = bundled.synthesize(sample_w(bundled, [11, 12], truncation_psi=0.0))
        found = Encode().find(bundled, target, perceptual=Bundled())
        made = bundled.synthesize(found.latent)
    assert float((made - target).square().mean()) < 0.3 * float((mean - target).square().mean())


@pytest.mark.parametrize("name", NAMES)
def test_methods_have_names(G: NetworkGenerator, file: Path, name: str) -> None:
    encoder = None if name in ("w", "w+", "s") else str(file)
    method = method_named(name, G, encoder=encoder)
    wanted = {
        "auto": Auto, "encode": Encode, "encode+optimise": EncodeThenOptimise, "pivotal": Pivotal,
    }  # fmt: skip
    assert type(method) is wanted.get(name, Optimise)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("magic", {}, "no method is called"),
        ("w+", {"encoder": "e.safetensors"}, "takes no encoder"),
        ("w+", {"locality": True}, "nothing that locality could hold; take pivotal"),
        ("encode", {"steps": 5}, "does not search"),
        ("encode", {"budget": 5.0}, "does not search"),
        ("encode+optimise", {"steps": 0}, "at least 1"),
    ],
)
def test_options_that_a_method_has_no_use_for_are_refused(
    G: NetworkGenerator, name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        method_named(name, G, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Encode(iterations=0), "at least once"),
        (lambda: Encode(space="z"), "in w or w"),  # type: ignore[arg-type]
        (lambda: EncodeThenOptimise(budget=-1.0), "positive number of seconds"),
        (lambda: Refine(memory=0), "at least 1"),
        (lambda: Refine(space="s"), "in w or w"),  # type: ignore[arg-type]
        (lambda: EncoderConfig(batch=1), "batch >= 4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_a_class_is_refused(G: NetworkGenerator, file: Path) -> None:
    with pytest.raises(UsageError, match="do not take a class"):
        Encode(encoder=str(file)).find(G, picture(G, 0), perceptual=Bundled(), classes=0)


def photographs(folder: Path, count: int = 6, side: int = 16) -> Path:
    folder.mkdir()
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 255, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_training_goes_on_where_it_stopped(G: NetworkGenerator, tmp_path: Path) -> None:
    photos = open_dataset(photographs(tmp_path / "photos"), resolution=16, channels=3)
    state = tmp_path / "run.state"
    seen: list[int] = []
    short = EncoderConfig(steps=2, pool=16, batch=4, samples=4)
    train_encoder(G, photos, short, perceptual=Bundled(), state=state)
    first = load_state(state)
    assert first["step"] == 2 and first["seconds"] > 0
    longer = EncoderConfig(steps=3, pool=16, batch=4, samples=4)
    _, progress = train_encoder(
        G, photos, longer, perceptual=Bundled(), state=state, on_progress=lambda p: seen.append(p.step)
    )
    assert progress.step == 3 and seen == [3] and progress.seconds > first["seconds"]
    assert {"codes", "pixel", "perceptual", "spread", "prior"} <= set(progress.losses)
    other = random_generator(seed=2, resolution=16)
    with pytest.raises(CheckpointError, match="go on from is of generator"):
        train_encoder(other, None, longer, perceptual=Bundled(), state=state)


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
    photos = photographs(tmp_path / "photos")
    sizes = ["--steps", "2", "--pool", "16", "--batch", "4"]
    assert cli.main(["train", "encoder", "--data", str(photos), "--out", str(out), *options, *sizes, "--quiet"]) == 0
    header = read_header(out)
    assert header["kind"] == "encoder" and header["training"]["generator"] == G.spec.id
    assert header["training"]["steps"] == 2 and header["training"]["data"] == "photos"
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
