"""`editkit directions find` and `score` on a generator of two matrices."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from directions_command import G, run

from directions import catalog, score
from directions.bars import target_of
from editkit.direction import Direction
from editkit.sampling import sample_w


def test_what_was_looked_for_is_what_it_is_judged_by(G, capsys, tmp_path):
    """Detail is not among the usual scores, and the direction is called something else."""
    options = ("--method", "svm", "--attribute", "detail", "--name", "crisp", "--samples", 300, "--layers", "1-2")
    code, printed = run(capsys, "find", *options, "--json")
    assert code == 0, printed.err
    (found,) = json.loads(printed.out)["directions"]
    assert found["does"] == found["target"] == "detail" and "effect:detail" in found["scores"]
    assert run(capsys, "export", "crisp", "--out", tmp_path / "crisp.safetensors")[0] == 0
    given = (tmp_path / "crisp.safetensors", "--generator", "linear", "--name", "warmth")
    assert run(capsys, "import", *given)[0] == 0
    again = catalog.load(G, "warmth")
    assert again.target == target_of(again) == "detail", "another name is not another target"
    code, printed = run(capsys, "score", "warmth", "--samples", 4, "--json")
    assert json.loads(printed.out)["target"] == "detail"


def test_hiding_a_bundled_one_is_said(G, capsys, tmp_path):
    options = ("find", "--method", "svm", "--attribute", "brightness", "--samples", 300, "--layers", "1-2")
    one = Direction(name="brightness", vector=G.w_avg + 1, space="w", generator=G.spec.id)
    catalog.save(G, one, folder=tmp_path / "bundled")
    code, printed = run(capsys, *options, "--out", tmp_path / "mine")
    assert code == 0 and "hides" not in printed.out
    says = "it hides the bundled 'brightness' until `editkit directions remove brightness`"
    code, printed = run(capsys, *options)
    assert code == 0 and says in printed.out
    code, printed = run(capsys, *options)
    assert code == 0 and "hides" in printed.out
    code, printed = run(capsys, "list")
    assert "(hides the bundled one)" in printed.out
    np.save(tmp_path / "b.npy", np.array([1.0, 0, 0, 0]))
    given = ("import", tmp_path / "b.npy", "--generator", "linear", "--name", "brightness")
    code, printed = run(capsys, *given, "--out", tmp_path / "mine")
    assert code == 0 and "hides" not in printed.out
    code, printed = run(capsys, *given)
    assert code == 0 and says in printed.out
    code, printed = run(capsys, "score", "brightness", "--samples", 24, "--save")
    assert code == 0 and says in printed.out
    code, printed = run(capsys, "remove", "brightness")
    assert code == 0 and "the bundled one is back" in printed.out and catalog.origin(G, "brightness") == "bundled"


def test_find_by_pca(G, capsys, tmp_path):
    code, printed = run(
        capsys, "find", "--count", 2, "--samples", 300, "--layers", "1-2", "--out", tmp_path / "mine", "--json"
    )
    assert code == 0, printed.err
    found = json.loads(printed.out)["directions"]
    assert [one["name"] for one in found] == ["pca-0", "pca-1"]
    assert found[0]["does"] in {one.name for one in score.default_scorers(faces=False)}
    kept = Direction.load(tmp_path / "mine" / G.spec.id[:12] / "pca-0.safetensors")
    assert not kept.touches_placement and f"effect:{found[0]['does']}" in kept.scores


def test_find_by_svm(G, capsys):
    arguments = ("find", "--method", "svm", "--samples", 400, "--layers", "1-2")
    code, printed = run(capsys, *arguments, "--attribute", "brightness", "--attribute", "warmth")
    assert code == 0, printed.err
    assert "held-out samples apart (95 % interval" in printed.out and "brightness +1." in printed.out
    code, printed = run(capsys, "score", "brightness", "--samples", 4, "--all")
    assert code == 0 and "\nnot counted, share: detail " in printed.out
    code, printed = run(capsys, "score", "brightness", "--samples", 4, "--all", "--json")
    assert set(json.loads(printed.out)["beside"]) == {"detail"}
    assert catalog.names(G) == ("brightness", "warmth")
    kept = catalog.load(G, "brightness")
    assert kept.method == "linear svm" and not kept.touches_placement and kept.scores["accuracy"] > 0.9
    assert kept.scores["effect:brightness"] == pytest.approx(1, abs=0.15)
    G.batches.clear()
    code, printed = run(capsys, *arguments, "--attribute", "brightness", "--name", "lighter", "--json")
    assert code == 0 and sum(G.batches) <= 704, "labelled again"  # 192 for the unit, 512 to judge
    assert json.loads(printed.out)["directions"][0]["name"] == "lighter"


def test_find_from_a_table_and_from_folders(G, capsys, tmp_path):
    latents = sample_w(G, range(60))
    sides = (latents.tensor[:, 0, 0] > G.w_avg[0]).tolist()
    rows = "".join(f"{seed},{int(side)}\n" for seed, side in enumerate(sides))
    (tmp_path / "labels.csv").write_text("seed,tall\n" + rows)
    code, printed = run(capsys, "find", "--method", "svm", "--labels", tmp_path / "labels.csv")
    assert code == 0, printed.err
    assert catalog.load(G, "tall").reference.startswith("labels.csv, 60 rows")
    assert "a unit is one standard deviation of the boundary's score for tall" in printed.out
    says = "as far as samples go, not cut (what pictures look like is only known of faces); not shortened by the bars"
    assert says in printed.out
    for seed, side in enumerate(sides):
        place = tmp_path / ("with" if side else "without") / str(seed)
        place.mkdir(parents=True)
        latents[seed].as_w_plus().save(place / "latent.safetensors")
    folders = ("--with", tmp_path / "with", "--without", tmp_path / "without")
    code, printed = run(capsys, "find", "--method", "svm", *folders, "--name", "hat")
    assert code == 0 and catalog.load(G, "hat").space == "w+"
    code, printed = run(capsys, "find", "--method", "svm", *folders)
    assert code == 2 and "need --name" in printed.err
    code, printed = run(capsys, "find", "--method", "svm", "--with", tmp_path / "with", "--name", "hat")
    assert code == 2 and "--with and --without together" in printed.err
    code, printed = run(
        capsys, "find", "--method", "svm", "--with", tmp_path, "--without", tmp_path / "x", "--name", "a"
    )
    assert code == 1 and "is not a folder" in printed.err


def test_score(G, capsys, tmp_path):
    catalog.save(G, Direction(name="tone", vector=torch.tensor([1.0, 0, 0, 0]), space="w", generator=G.spec.id))
    code, printed = run(capsys, "score", "tone", "--samples", 4, "--image", tmp_path / "tone.png", "--rows", 2)
    assert code == 0, printed.err
    assert "sd a unit" in printed.out and "tone: not offered" in printed.out and "kept at one unit" in printed.out
    from PIL import Image

    with Image.open(tmp_path / "tone.png") as picture:
        assert picture.size == (5 * 18 + 2, 2 * 18 + 2)
    file = catalog.find_files(G.spec)["tone"]
    code, printed = run(capsys, "score", file, "--samples", 4, "--save")
    assert code == 2 and "at least 24 samples, got 4" in printed.err
    code, printed = run(capsys, "score", file, "--samples", 24, "--target", "warmth", "--json", "--save")
    found = json.loads(printed.out)
    assert code == 0 and found["target"] == "warmth" and set(found["leakage"]) == set(found["effects"]) - {"warmth"}
    assert catalog.load(G, "tone").scores["effect:warmth"] == pytest.approx(found["effects"]["warmth"], abs=1e-3)
    code, printed = run(capsys, "list", "--json")
    assert json.loads(printed.out)["directions"][0]["offered"] is False
    assert catalog.load(G, "tone").target == "warmth"
    code, printed = run(capsys, "score", "tone", "--samples", 4, "--json")
    assert json.loads(printed.out)["target"] == "warmth", "the one in its file"
    code, printed = run(capsys, "score", "tone", "--target", "charm")
    assert code == 1 and "no score 'charm'" in printed.err


def test_score_on_photos(G, capsys, tmp_path):
    catalog.save(G, Direction(name="tone", vector=torch.tensor([1.0, 0, 0, 0]), space="w", generator=G.spec.id))
    far = sample_w(G, range(3)).as_w_plus()
    for number in range(3):
        (tmp_path / "found" / str(number)).mkdir(parents=True)
        far[number].save(tmp_path / "found" / str(number) / "latent.safetensors")
    options = ("score", "tone", "--photos", tmp_path / "found", "--range", 0.5)
    code, printed = run(capsys, *options, "--image", tmp_path / "tone.png", "--rows", 2)
    assert code == 0, printed.err
    assert "3 photos, strengths -0.5, -0.2, +0.0, +0.2, +0.5" in printed.out
    assert "tone: misses bars on these photos" in printed.out
    code, printed = run(capsys, *options, "--json")
    found = json.loads(printed.out)
    samples = json.loads(run(capsys, "score", "tone", "--range", 0.5, "--samples", 3, "--seed", 0, "--json")[1].out)
    assert found["effects"] == pytest.approx(samples["effects"]), "the same codes, found in another way"
    code, printed = run(capsys, *options, "--save")
    assert code == 2 and "leave out --photos" in printed.err
    code, printed = run(capsys, "score", "tone", "--photos", tmp_path)
    assert code == 0, "sub-folders are looked into"
    (tmp_path / "none").mkdir()
    code, printed = run(capsys, "score", "tone", "--photos", tmp_path / "none")
    assert code == 1 and "project its photos first" in printed.err
