"""What a generator is judged by, and the card that says it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from editkit.generator import load_generator, random_generator
from editkit.photo import image_to_uint8
from train.generator_card import generator_card
from train.generator_evaluation import GeneratorEvaluation, evaluate, sample

ARGUMENTS = {"output_scale": 0.8, "channel_max": 8, "num_layers": 4, "num_critical": 1}


@pytest.fixture(scope="module")
def figures() -> GeneratorEvaluation:
    G = random_generator(seed=1, **ARGUMENTS)
    own = image_to_uint8(sample(G, range(1000, 1008))).numpy()  # photos that it can give back
    return evaluate(G, unseen=own[:2], evaluation=own, spaces=("w", "w+"), steps=40, variety_count=6)


def test_its_own_samples_are_near_it(figures: GeneratorEvaluation) -> None:
    assert figures.photos == 2 and figures.fd_count == 8 and set(figures.inversion) == {"w", "w+"}
    assert figures.inversion["w+"]["psnr"] > 20
    assert 0 < figures.closest_pair < figures.variety
    assert figures.variety == pytest.approx(figures.variety_real, rel=0.6)


def test_its_own_samples_are_covered(figures: GeneratorEvaluation) -> None:
    assert figures.precision > 0.5 and figures.recall > 0.5 and figures.kid_faces < 1
    assert figures.equivariance.keys() == {"eqt_integer", "eqt_fractional", "eqr"}
    assert figures.equivariance["eqt_integer"] > 30 and not figures.groups  # no encoder fits a random generator


def test_groups_are_told_apart_where_an_encoder_fits() -> None:
    G = load_generator(device="cpu")
    photos = image_to_uint8(sample(G, range(1000, 1006))).numpy()
    photos[3:] = np.random.default_rng(0).integers(0, 256, photos[3:].shape, dtype=np.uint8)
    labels = {"what": np.array(["face"] * 3 + ["noise"] * 3)}
    found = evaluate(G, unseen=photos[:1], evaluation=photos, steps=2, variety_count=4, labels=labels)
    assert found.groups.keys() == {"what face", "what noise"}
    (faces, near), (noise, far) = found.groups.values()
    assert faces == noise == 3 and near > far + 5


def test_noise_is_farther_than_its_own_samples(figures: GeneratorEvaluation) -> None:
    G = random_generator(seed=1, **ARGUMENTS)
    noise = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    other = evaluate(G, unseen=noise[:1], evaluation=noise, spaces=("w",), steps=5, variety_count=4)
    assert other.fd_faces > 2 * figures.fd_faces
    assert other.inversion["w"]["psnr"] < figures.inversion["w"]["psnr"]


def test_samples_repeat_and_truncate() -> None:
    G = random_generator(seed=1)
    assert torch.equal(sample(G, range(3)), sample(G, range(3)))
    near = sample(G, range(8), truncation_psi=0.2)
    assert near.std(0).mean() < 0.6 * sample(G, range(8)).std(0).mean()


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (5, "no samples were judged"),
        (20, "after 10 a part of every batch were samples (50% in the end), which alone are judged."),
    ],
)
def test_the_card_says_what_was_measured(figures: GeneratorEvaluation, images: int, said: str) -> None:
    G = random_generator(seed=1)
    arguments = G.arguments | {"first_cutoff": 2}
    training = {"data": "toy.zip", "images": images, "features": "toy-0", "config": {"reconstruction_images": 10}}
    card = generator_card({"name": "toy", "id": "0" * 64, "arguments": arguments, "training": training}, figures, [])
    told = " ".join(card.split())  # the recipe is wrapped
    assert said in told and "| W+ | 40 |" in told and f"{figures.inversion['w+']['psnr']:.2f} dB" in told
    assert card.count("editkit train starter") == 1 and "earlier recipe" not in card
    grown = arguments | {"channel_base": 6144}
    card = generator_card({"name": "toy", "id": "0" * 64, "arguments": grown, "training": training}, figures, [])
    recipe = card[card.index("- **Recipe**") :].split("\n\n")[0]
    assert "the weights of the losses" in " ".join(recipe.split()) and max(map(len, recipe.splitlines())) <= 118
    assert card.count("editkit train starter") == 2 and f"--size medium --until-images {images} --export" in card
    flowing = training | {"settled_at": 15, "config": {"reconstruction_images": 10, "sample_share": 0.75}}
    card = generator_card({"name": "toy", "id": "0" * 64, "arguments": arguments, "training": flowing}, figures, [])
    if images > 10:
        told = " ".join(card.split())
        assert "(75% in the end)" in told and "after 15 the encoder rested" in told
        assert f"--set settle_images=15 --until-images {images} --export" in card
