"""The encoder: its network, its methods, the file it is kept in. Tiny networks throughout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from encoder_fixtures import G, face, file, jacobians, picture

import projector
from editkit.errors import CheckpointError, GeneratorMismatchError, UsageError
from editkit.generator import NetworkGenerator, load_generator, random_generator, save_generator
from editkit.perceptual import Bundled
from editkit.sampling import sample_w
from projector import Auto, Encode, EncodeThenOptimise, Optimise, Pivotal, Refine, Stop
from projector.encoder import fitting_encoder, load_encoder
from projector.encoder_network import EncoderNetwork
from projector.methods import NAMES, method_named
from train.encoder import EncoderConfig


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
