"""A direction from two sentences, with small CLIP models of random weights: none are needed, and none fetched."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from styled_generator import StyledGenerator

from directions import find, text
from editkit.clip_network import DEVIATION, MEAN, import_open_clip
from editkit.edits import Edit, apply_edits
from editkit.errors import CheckpointError, DirectionError, MissingWeightsError, UsageError
from editkit.generator import random_generator
from editkit.rendering import render
from editkit.safetensors_format import save
from editkit.sampling import sample_w

SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def open_clip():
    return import_open_clip()


@pytest.fixture(scope="module")
def registered(open_clip, tmp_path_factory):
    """open_clip with a small model, "small-test", and its weights in both kinds of file."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "small-test.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(folder / "small-test.json")
    torch.manual_seed(3)
    state = open_clip.CLIP(**SMALL).state_dict()
    (folder / "w.safetensors").write_bytes(save({name: t.clone() for name, t in state.items()}, {}))
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, folder / "w.pt")
    return folder


@pytest.fixture(scope="module")
def encoder(registered):
    return text.load_clip(registered / "w.safetensors", model="small-test")


def test_embeddings(encoder, registered):
    assert encoder.size == (32, 32) and encoder.name == "small-test, w.safetensors"
    images = torch.rand(2, 3, 48, 48) * 2 - 1
    first = encoder.images(images)
    assert first.shape == (2, 16) and torch.allclose(first.norm(dim=1), torch.ones(2))
    words = encoder.sentences(["a face", "a smiling face", "a face"])
    assert words.shape == (3, 16) and torch.allclose(words[0], words[2]) and not torch.allclose(words[0], words[1])
    again = text.load_clip(registered / "w.pt", model="small-test")
    assert torch.equal(again.images(images), first) and torch.equal(
        again.sentences(["a face", "a smiling face", "a face"]), words
    )
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
    by_hand = torch.nn.functional.interpolate(images, size=(32, 32), mode="bicubic", antialias=True).clamp(-1, 1)
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
    expected = encoder.model.encode_image(((by_hand + 1) / 2 - mean) / deviation)
    assert torch.allclose(first, torch.nn.functional.normalize(expected, dim=1), atol=1e-6)


def test_scores_are_kept_apart_by_sentence_template_and_weights(encoder, open_clip):
    torch.manual_seed(4)
    other = replace(encoder, model=open_clip.CLIP(**SMALL))
    made = [
        text.text_scorer(whose, neutral="a", target="b", name="x", templates=templates)
        for whose, templates in ((encoder, ["{}"]), (encoder, ["a {}"]), (other, ["{}"]), (encoder, ["{}"]))
    ]
    ids = [one.identity for one in made]
    assert len(set(ids)) == 3 and ids[0] == ids[3]


def test_the_score_is_the_way_between_the_sentences(encoder):
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    there, back = (
        text.text_scorer(encoder, neutral=a, target=b, name="smile")
        for a, b in (("a face", "a smiling face"), ("a smiling face", "a face"))
    )
    assert torch.allclose(there(images), -back(images), atol=1e-6)
    a, b = encoder.sentences(["a face", "a smiling face"])
    expected = encoder.images(images) @ torch.nn.functional.normalize(b - a, dim=0)
    assert torch.allclose(there(images), expected, atol=1e-6)
    wrapped = text.text_scorer(encoder, neutral="a", target="b", name="x", templates=["a photo of {}", "{}, drawn"])
    assert not torch.allclose(wrapped(images), text.text_scorer(encoder, neutral="a", target="b", name="x")(images))


@pytest.mark.parametrize("kind", ["stylegan3", "stylegan2"])
def test_a_direction_from_two_sentences(encoder, kind):
    G = random_generator(seed=1, kind=kind, resolution=16)
    method = text.TextDirection(
        neutral="a face", target="a smiling face", encoder=encoder, name="smile", channels=30, samples=8
    )
    (found,) = find(G, method)
    assert found.name == "smile" and found.space == "s" and found.method == "text"
    assert '"a face" to "a smiling face"' in found.reference and "small-test" in found.reference
    score = text.text_scorer(encoder, neutral="a face", target="a smiling face", name="smile")
    w = sample_w(G, range(10, 18))
    low, high = found.strength  # over which its unit is measured
    less, more = (score(render(G, apply_edits(w, Edit(found, s), generator=G))).mean() for s in (low, high))
    assert float(more) > float(less)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "a face"}, "does not tell 'a face' from 'a face'"),
        ({"target": " "}, "one is empty"),
        ({"target": "b", "templates": ["a photo"]}, "one {}"),
        ({"target": "b", "templates": []}, "one {}"),
    ],
)
def test_bad_sentences(encoder, options, message):
    with pytest.raises(DirectionError, match=message):
        text.text_scorer(encoder, **{"neutral": "a face", "name": "x", **options})


def test_a_generator_without_channels(encoder):
    from linear_generator import LinearGenerator

    method = text.TextDirection(neutral="a", target="b", encoder=encoder, name="x")
    with pytest.raises(DirectionError, match="no StyleSpace"):
        find(LinearGenerator(), method)
    assert StyledGenerator().spec.kind == "linear"


def test_weights_that_are_no_use(registered, tmp_path, monkeypatch):
    with pytest.raises(MissingWeightsError, match="nothing is downloaded"):
        text.load_clip(tmp_path / "none.safetensors", model="small-test")
    with pytest.raises(UsageError, match="knows no model 'ViT-Z'"):
        text.load_clip(registered / "w.pt", model="ViT-Z")
    with pytest.raises(UsageError, match="parts from the network"):
        text.load_clip(registered / "w.pt", model="xlm-roberta-base-ViT-B-32")
    with pytest.raises(CheckpointError, match="not the weights of small-other"):
        other = {**SMALL, "embed_dim": 8}
        (tmp_path / "small-other.json").write_text(json.dumps(other))
        import_open_clip().add_model_config(tmp_path / "small-other.json")
        text.load_clip(registered / "w.pt", model="small-other")
    for name, content in (("x.safetensors", b"12345678"), ("x.pt", b"PK\x03\x04 no archive")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError):
            text.load_clip(tmp_path / name, model="small-test")
    torch.save({"a": 1}, tmp_path / "y.pt")
    with pytest.raises(CheckpointError, match="no state dict"):
        text.load_clip(tmp_path / "y.pt", model="small-test")
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(MissingWeightsError, match="pip install open_clip_torch"):
        text.load_clip(registered / "w.pt", model="small-test")
