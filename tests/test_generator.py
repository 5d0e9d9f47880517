"""Generators as the rest of editkit sees them: map, synthesize, load, save."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from network_fixtures import absolute_error, full_path

from editkit import memory
from editkit.checkpoints.native import halve, read_header, weights_id, write_checkpoint
from editkit.errors import (
    CheckpointError,
    DeviceError,
    GeneratorMismatchError,
    LatentError,
    MemoryBudgetError,
    OutputError,
    SchemaError,
    UsageError,
)
from editkit.generator import Generator, NetworkGenerator, load_generator, random_generator, save_generator
from editkit.latent import Latent
from editkit.seeds import z_from_seeds
from editkit.transform import Transform


@pytest.fixture(scope="module")
def generator() -> NetworkGenerator:
    return random_generator(seed=1)


@pytest.fixture(scope="module")
def latent(generator: NetworkGenerator) -> Latent:
    return generator.map(z_from_seeds([0, 1, 2], 32))


def test_it_is_a_generator_with_facts(generator: NetworkGenerator) -> None:
    assert isinstance(generator, Generator)
    spec = generator.spec
    assert (spec.resolution, spec.channels, spec.z_dim, spec.w_dim, spec.num_ws, spec.c_dim) == (32, 3, 32, 32, 8, 0)
    assert spec.id == weights_id(generator.state_dict()) and spec.parent_id is None
    assert generator.device == torch.device("cpu") and generator.w_avg.shape == (32,)


def test_the_same_seed_makes_the_same_generator(generator: NetworkGenerator) -> None:
    state = torch.get_rng_state()
    again, other = random_generator(seed=1), random_generator(seed=2)
    assert torch.equal(torch.get_rng_state(), state)  # and the global stream is left alone
    assert again.spec == generator.spec
    assert other.spec.id != generator.spec.id
    assert random_generator(seed=1, resolution=64, w_dim=16).spec.w_dim == 16
    with pytest.raises(CheckpointError, match="chanels"):
        random_generator(chanels=4)


def test_mapping(generator: NetworkGenerator, latent: Latent) -> None:
    z = z_from_seeds([0, 1, 2], 32)
    assert latent.space == "w" and latent.tensor.shape == (3, 8, 32) and latent.generator == generator.spec.id
    assert torch.equal(latent.tensor[:, 0], latent.tensor[:, 7])
    average = generator.map(z, truncation_psi=0.0)
    assert absolute_error(average.tensor, generator.w_avg.expand(3, 8, 32)) < 1e-6
    cut = generator.map(z, truncation_psi=0.5, truncation_cutoff=3)
    assert cut.space == "w+"
    assert torch.equal(cut.tensor[:, 3:], latent.tensor[:, 3:]) and not torch.equal(
        cut.tensor[:, :3], latent.tensor[:, :3]
    )
    with pytest.raises(LatentError, match=r"takes z of shape \[N, 32\], got \[3, 31\]"):
        generator.map(z[:, :31])
    with pytest.raises(LatentError, match=r"labels \[3, 0\], got \[3, 2\]"):
        generator.map(z, label=torch.zeros(3, 2))


def test_labels_of_a_conditional_generator() -> None:
    conditional = random_generator(c_dim=3)
    z = z_from_seeds([0, 1], 32)
    codes = [conditional.map(z, label=label).tensor for label in (None, torch.zeros(2, 3), torch.eye(3)[:2])]
    assert torch.equal(codes[0], codes[1]) and absolute_error(codes[1], codes[2]) > 1e-3
    with pytest.raises(LatentError, match=r"labels \[2, 3\], got \[1, 3\]"):
        conditional.map(z, label=torch.zeros(1, 3))


def test_images_and_stylespace(generator: NetworkGenerator, latent: Latent) -> None:
    image = generator.synthesize(latent)
    assert image.shape == (3, 3, 32, 32) and image.dtype == torch.float32 and torch.isfinite(image).all()
    assert image.std() > 1e-3
    styles = generator.styles(latent)
    assert styles.space == "s" and set(styles.styles) >= {"input"} and len(styles.styles) == 8
    assert absolute_error(generator.synthesize(styles), image) < 1e-6


def test_an_image_does_not_depend_on_its_batch(generator: NetworkGenerator, latent: Latent) -> None:
    together = generator.synthesize(latent)
    alone = torch.cat([generator.synthesize(latent[i]) for i in range(3)])
    assert absolute_error(together, alone) <= 1e-6 * together.abs().max().item() * 4
    # codes of other magnitudes in the batch would change the shared normalisation of a coupled network
    loud = Latent(
        space="w+", codes=torch.cat([latent.tensor[:1], 1e4 * latent.tensor[1:2]]), generator=latent.generator
    )
    assert absolute_error(generator.synthesize(loud)[:1], alone[:1]) <= 1e-6 * together.abs().max().item() * 4


def test_coupled_styles_are_coupled() -> None:
    """As the published networks were trained: felt only where styles are so small that 1e-8 counts."""
    coupled = random_generator(seed=1)
    coupled._network.synthesis.couple_styles(True)
    codes = coupled.map(z_from_seeds([0, 1], 32)).tensor
    styles = coupled._network.synthesis.styles(codes)
    quiet = {
        name: torch.cat([value[:1], value[1:] * (1 if name == "input" else 1e5)]) for name, value in styles.items()
    }
    alone = {name: value[:1] for name, value in quiet.items()}
    both = [coupled._network.synthesis.from_styles(s)[:1] for s in (quiet, alone)]
    assert absolute_error(*both) > 1e-3 * both[1].abs().max().item()
    coupled._network.synthesis.couple_styles(False)
    both = [coupled._network.synthesis.from_styles(s)[:1] for s in (quiet, alone)]
    assert absolute_error(*both) <= 1e-5 * both[1].abs().max().item()


def test_it_is_differentiable_in_codes_and_transform(generator: NetworkGenerator, latent: Latent) -> None:
    codes = latent.tensor[:1].detach().requires_grad_()
    shift = torch.zeros(1, requires_grad=True)
    free = Latent(space="w+", codes=codes, generator=generator.spec.id)
    image = generator.synthesize(free, transform=Transform.translate(shift, torch.zeros(1)))
    gradients = torch.autograd.grad(image.square().mean(), [codes, shift])
    assert all(torch.isfinite(g).all() and g.abs().max() > 0 for g in gradients)


def test_using_it_changes_nothing(generator: NetworkGenerator, latent: Latent) -> None:
    before, codes = generator.state_dict(), latent.tensor.clone()
    generator.synthesize(latent, transform=Transform.rotate(20))
    generator.synthesize(generator.styles(latent))
    generator.map(z_from_seeds([9], 32), truncation_psi=0.3)
    generator.w_avg.fill_(7)  # a copy
    generator.state_dict()["mapping.w_avg"].fill_(7)
    after = generator.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(latent.tensor, codes)
    assert not any(p.requires_grad for p in generator._network.parameters())
    assert not generator._network.training


@pytest.fixture(scope="module", params=["sg3t_64_legacy_p3", "sg3r_64"])
def official(request) -> NetworkGenerator:
    return load_generator(full_path(f"pickles/{request.param}.pkl"))


def _distance(a: torch.Tensor, b: torch.Tensor, margin: int) -> float:
    inside = slice(margin, -margin)
    return ((a - b)[..., inside, inside].square().mean().sqrt() / b.std()).item()


def test_official_pickles_load(official: NetworkGenerator) -> None:
    spec = official.spec
    assert (spec.resolution, spec.num_ws, spec.alignment, spec.parent_id) == (64, 16, "centre", None)
    assert spec.id == weights_id(official.state_dict())


def test_transforms_move_the_content_forward(official: NetworkGenerator) -> None:
    """By +t, x right and y down; each sample by its own."""
    codes = official.map(z_from_seeds([0], 32))
    still = official.synthesize(codes, transform=Transform.identity())
    three = Latent(space="w", codes=codes.tensor.expand(3, -1, -1), generator=codes.generator)
    moves = Transform.translate([0.25, 0.0, -0.125], [0.0, 0.125, 0.0])
    right, down, left = official.synthesize(three, transform=moves).split(1)
    for moved, shift in ((right, (0, 16)), (down, (8, 0)), (left, (0, -8))):
        wanted = still.roll(shift, (2, 3))
        assert _distance(moved, wanted, 17) < 0.02
        assert _distance(moved, still.roll([-s for s in shift], (2, 3)), 17) > 0.2


def test_rotation_is_counter_clockwise() -> None:
    """On configuration R, which is equivariant to it."""
    model = load_generator(full_path("pickles/sg3r_64.pkl"))
    codes = model.map(z_from_seeds([0], 32))
    still, turned = (model.synthesize(codes, transform=Transform.rotate(angle)) for angle in (0, 90))
    assert _distance(turned, still.rot90(1, (2, 3)), 2) < 0.1
    assert _distance(turned, still.rot90(-1, (2, 3)), 2) > 0.5


def test_scaling_enlarges_the_input_grid() -> None:
    """Scaled by three, the grid point m + 1/2 lies where point 3 m + 1 + 1/2 is: exactly, before any filter."""
    input_layer = random_generator(seed=1)._network.synthesis.input
    placement = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    plain = input_layer(placement, torch.eye(3))
    large = input_layer(placement, Transform.scale(3.0).inverse().matrix)
    half = input_layer.size // 2
    m = torch.arange(-(half // 3) + 1, half // 3 - 1)
    at_large, at_plain = half + 3 * m + 1, half + m
    assert len(m) > 4
    found, wanted = large[..., at_large, :][..., at_large], plain[..., at_plain, :][..., at_plain]
    assert absolute_error(found, wanted) < 1e-5 < absolute_error(found, plain[..., at_large, :][..., at_large])


def test_saving_and_loading_give_the_same_generator(generator, latent, tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    save_generator(generator, path)
    again = load_generator(path)
    assert again.spec == generator.spec and again.arguments == generator.arguments
    assert all(torch.equal(again.state_dict()[name], value) for name, value in generator.state_dict().items())
    assert torch.equal(again.synthesize(latent), generator.synthesize(latent))
    assert sorted(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError):
        save_generator(generator, tmp_path / "nowhere" / "g.safetensors")


def test_a_half_precision_copy_takes_its_parents_latents(generator, latent, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    header = {"kind": "stylegan3", "arguments": generator.arguments, "name": "half", "parent_id": generator.spec.id}
    write_checkpoint(path, halve(generator.state_dict()), header)
    copy = load_generator(path)
    assert copy.spec.parent_id == generator.spec.id and copy.spec.id == read_header(path)["id"] != generator.spec.id
    image = copy.synthesize(latent)
    assert image.dtype == torch.float32
    assert 0 < absolute_error(image, generator.synthesize(latent)) < 0.02 * image.abs().max().item()
    own = copy.map(z_from_seeds([0], 32))
    assert (own.generator, own.parent) == (copy.spec.id, generator.spec.id)
    with pytest.raises(GeneratorMismatchError):  # but not the other way round
        generator.synthesize(own)
    # saved again, a copy keeps its identity, its parent and the values of its weights
    save_generator(copy, tmp_path / "again.safetensors")
    again = load_generator(tmp_path / "again.safetensors")
    assert again.spec.parent_id == generator.spec.id
    assert torch.equal(again.synthesize(latent), image)


def test_foreign_and_misshapen_latents_are_refused(generator: NetworkGenerator, latent: Latent) -> None:
    other = random_generator(seed=5)
    with pytest.raises(GeneratorMismatchError, match=latent.generator[:12]):
        other.synthesize(latent)
    with pytest.raises(GeneratorMismatchError):
        other.styles(latent)
    with pytest.raises(LatentError, match="map it first"):
        generator.synthesize(Latent(space="z", codes=torch.zeros(1, 32), generator=generator.spec.id))
    with pytest.raises(LatentError):
        generator.synthesize(Latent(space="w+", codes=torch.zeros(1, 7, 32), generator=generator.spec.id))
    styles = dict(generator.styles(latent).styles)
    for change, message in (
        ({"input": None}, "4 channels in 'input', got 0"),
        ({"input": torch.zeros(3, 5)}, "4 channels in 'input', got 5"),
        ({"L99": torch.zeros(3, 2)}, "0 channels in 'L99', got 2"),
    ):
        bad = {name: codes for name, codes in (styles | change).items() if codes is not None}
        with pytest.raises(LatentError, match=message):
            generator.synthesize(Latent(space="s", codes=bad, generator=generator.spec.id))
    with pytest.raises(UsageError):
        generator.synthesize(latent, transform=Transform.translate([0.1, 0.2], 0.0))


def test_what_is_no_generator_is_refused(generator: NetworkGenerator, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no generator 'faces9999'.*\.safetensors or an official \.pkl"):
        load_generator("faces9999")
    with pytest.raises(CheckpointError):
        load_generator(tmp_path / "absent.safetensors")
    tensors = {"b4.out.weight": torch.zeros(1, 4)}
    write_checkpoint(tmp_path / "d.safetensors", tensors, {"kind": "discriminator", "name": "critic"})
    with pytest.raises(CheckpointError, match="'critic' is of kind 'discriminator', not a generator"):
        load_generator(tmp_path / "d.safetensors")
    (tmp_path / "text.safetensors").write_text("<html>not found</html>")
    (tmp_path / "text.pkl").write_text("<html>not found</html>")
    for name in ("text.safetensors", "text.pkl"):
        with pytest.raises(CheckpointError):
            load_generator(tmp_path / name)
    with pytest.raises(DeviceError):
        load_generator(device="abacus")


def test_arguments_that_do_not_fit_the_weights_are_refused(generator: NetworkGenerator, tmp_path: Path) -> None:
    for index, change in enumerate(({"channel_max": 8}, {"w_dim": 31}, {"num_layers": 7}, {"surprise": 1})):
        path = tmp_path / f"{index}.safetensors"
        write_checkpoint(path, generator.state_dict(), {"kind": "stylegan3", "arguments": generator.arguments | change})
        with pytest.raises(CheckpointError):
            load_generator(path)


def test_a_newer_schema_is_refused(generator: NetworkGenerator, tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    save_generator(generator, path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + length])
    header = json.loads(head["__metadata__"]["editkit"])
    head["__metadata__"]["editkit"] = json.dumps(header | {"schema": 99})
    text = json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(SchemaError):
        load_generator(path)


def test_what_would_not_fit_is_refused_with_the_numbers(generator, tmp_path: Path, monkeypatch) -> None:
    """Before the network is built."""
    path = tmp_path / "g.safetensors"
    save_generator(generator, path)
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": 1000)
    monkeypatch.setattr("editkit.networks.build_network", lambda *a: pytest.fail("it was built"))
    with pytest.raises(MemoryBudgetError, match=r"'random-1' needs about \d+\.\d GiB.*0\.0 GiB are free"):
        load_generator(path)
