"""``editkit metrics run`` and its data: figures, names, kept features, and bad input."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_extractors import random_inception

from editkit.cli import main
from editkit.errors import TrainingDataError, UsageError
from editkit.generator import random_generator, save_generator
from editkit.perceptual import Bundled
from editkit.photo import image_from_uint8
from train.dataset import open_dataset
from train.metrics.extractors import FaceFeatures
from train.metrics.feature_sets import features_of, real_features, sample_batches
from train.metrics.panel import measure_panel
from train.metrics.pictures import Pictures, as_seen


def photos(folder: Path, count: int = 20, side: int = 32) -> Path:
    stream = np.random.RandomState(0)
    for index in range(count):
        (folder / str(index % 2)).mkdir(parents=True, exist_ok=True)
        coarse = stream.randint(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((side, side)).save(folder / str(index % 2) / f"{index:03}.png")
    return folder


def as_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, path.relative_to(folder).as_posix())
        archive.writestr("dataset.json", "{}")
    return folder.with_suffix(".zip")


def command(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, dict[str, Any], str]:
    code = main(["metrics", "run", "--json", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.strip() else {}, err


def test_several_figures_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_generator(random_generator(resolution=32), tmp_path / "G.safetensors")
    data = photos(tmp_path / "photos")
    network = random_inception(tmp_path / "inception.pth")
    code, found, err = command(
        capsys, "--generator", tmp_path / "G.safetensors", "--data", as_zip(data), "--samples", 24,
        "--inception", network,
        "--metrics", "fd_faces,kid_faces,pr_faces,fid,is,spectra,eqt", "--picture", tmp_path / "spectra.png",
    )  # fmt: skip
    assert code == 0, err
    figures = found["metrics"]
    assert set(figures) == {
        "fd_faces", "kid_faces", "precision_faces", "recall_faces", "fid", "is", "is_deviation",
        "spectra_gap_db", "eqt_integer_db", "eqt_fractional_db", "eqt_integer_normalised_db",
        "eqt_fractional_normalised_db",
    }  # fmt: skip
    assert found["samples"] == 24 and found["real"] == 20
    assert 0 <= figures["precision_faces"] <= 1 and figures["fd_faces"] > 0 and figures["eqt_integer_db"] > 20
    with Image.open(tmp_path / "spectra.png") as picture:
        assert picture.size == (2 * 128 + 12, 128 + 8)


def test_a_figure_is_the_one_of_its_formula(tmp_path: Path) -> None:
    """fd_faces of the panel against the function of frechet.py on the same pictures."""
    from train.metrics.frechet import fd_faces

    G = random_generator(resolution=32)
    folder = photos(tmp_path / "photos")
    found = measure_panel(G, data=folder, samples=16)
    real = torch.cat(list(Pictures(folder, resolution=32).batches(64)))
    fake = torch.cat(list(sample_batches(G, 16)))
    assert found.values["fd_faces"] == pytest.approx(fd_faces(fake, real), rel=1e-4)
    assert torch.equal(fake, as_seen(fake))


def test_features_are_kept_until_a_picture_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, faces = photos(tmp_path / "photos", count=3), FaceFeatures()
    first = real_features(Pictures(folder, resolution=32), faces)
    seen: list[int] = []

    def counting(batches: Any, extractor: Any, *, on_batch: Any) -> Any:
        seen.append(1)
        return features_of(batches, extractor, on_batch=on_batch)

    monkeypatch.setattr("train.metrics.feature_sets.features_of", counting)
    again = real_features(Pictures(as_zip(folder), resolution=32), faces)  # the same bytes and names, packed
    assert torch.equal(first.values, again.values) and not seen
    real_features(Pictures(folder, resolution=64), faces)
    Image.new("RGB", (32, 32), "red").save(folder / "0" / "000.png")
    changed = real_features(Pictures(folder, resolution=32), faces)
    assert len(seen) == 2 and not torch.equal(changed.values[0], first.values[0])
    for kept in (tmp_path / "home" / "metrics").iterdir():
        kept.write_bytes(b"damaged")
    assert torch.equal(real_features(Pictures(folder, resolution=32), faces).values, changed.values)


def test_path_length_is_named_after_its_distance() -> None:
    found = measure_panel(random_generator(resolution=32), metrics=["ppl"], samples=2)
    assert list(found.values) == ["ppl_faces"] and found.values["ppl_faces"] > 0


def test_pictures_of_other_sizes_are_reduced(tmp_path: Path) -> None:
    (batch,) = Pictures(photos(tmp_path / "large", count=3, side=64), resolution=32, limit=2).batches(8)
    assert batch.shape == (2, 3, 32, 32) and -1 <= batch.min() < batch.max() <= 1


def test_bad_data(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"there is no .*nothing"):
        Pictures(tmp_path / "nothing", resolution=32)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingDataError, match="no pictures"):
        Pictures(tmp_path / "empty", resolution=32)
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(TrainingDataError, match="no readable zip"):
        Pictures(tmp_path / "bad.zip", resolution=32)
    folder = photos(tmp_path / "photos", count=2)
    whole = (folder / "0" / "000.png").read_bytes()
    (folder / "torn.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingDataError, match=r"torn\.png"):
        list(Pictures(folder, resolution=32).batches(8))


def test_pictures_are_those_that_training_reads(tmp_path: Path) -> None:
    """Turned upright, on white, cut to the centre square; all rows of a face data set."""
    folder = photos(tmp_path / "photos", count=18)
    wide = Image.new("RGBA", (64, 32), (255, 0, 0, 0))
    wide.paste((0, 0, 255, 255), (16, 0, 48, 32))
    wide.save(folder / "wide.png")
    turned = Image.new("RGB", (32, 32), "white")
    turned.paste((0, 0, 0), (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned.save(folder / "z.png", exif=exif)
    whole = torch.cat(list(Pictures(folder, resolution=32).batches(7)))
    read = open_dataset(folder, resolution=32, channels=3).__getitems__(range(20)).images
    assert torch.equal(whole, image_from_uint8(read))
    assert whole[18, :, 0, 0].tolist() == [-1, -1, 1] and whole[19, 0, 0, 0] == 1 and whole[19, 0, -1, 0] == -1
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))]
    (folder / "labels.csv").write_text("file\n" + "\n".join(names) + "\n")
    assert len(Pictures(folder, resolution=32)) == 20 and len(open_dataset(folder, resolution=32)) == 18


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"metrics": ["fdi"]}, "no metric is called .fdi"),
        ({"metrics": []}, "nothing"),
        ({}, "give --data"),
        ({"data": "few"}, "too few"),
        ({"metrics": ["eqr"], "samples": 0}, "samples"),
        ({"metrics": ["kid_faces"], "data": "photos", "samples": 4}, "too few"),
    ],
)
def test_wrong_use(tmp_path: Path, options: dict[str, Any], match: str) -> None:
    photos(tmp_path / "few", count=3)
    photos(tmp_path / "photos")
    if "data" in options:
        options = options | {"data": tmp_path / options["data"]}
    with pytest.raises(UsageError, match=match):
        measure_panel(random_generator(resolution=32), **options)


def test_a_score_needs_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = photos(tmp_path / "photos")
    monkeypatch.setattr("train.metrics.panel.load_extractor", lambda source, device: FaceFeatures())
    with pytest.raises(UsageError, match="probabilities"):
        measure_panel(random_generator(resolution=32), metrics=["is"], data=data, samples=16)


def test_path_length_has_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the table of docs/metrics.md calls it, and short; without other weights they are one."""
    G = random_generator(resolution=32)
    both = measure_panel(G, metrics=["ppl", "ppl_faces"], samples=4).values
    assert both == measure_panel(G, metrics=["ppl_faces"], samples=4).values and list(both) == ["ppl_faces"]

    class Other(Bundled):
        name = "other"

    monkeypatch.setattr("editkit.perceptual.best_available", lambda device: Other(device=device))
    assert set(measure_panel(G, metrics=["ppl", "ppl_faces"], samples=4).values) == {"ppl_other", "ppl_faces"}


def test_the_command_line_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(capsys)[0] == 2  # no data
    code, _, err = command(capsys, "--picture", tmp_path / "x.png")
    assert code == 2 and "spectra" in err
    code, _, err = command(capsys, "--generator", "fresh:stylegan3-t", "--metrics", "eqr")
    assert code == 2 and "fresh" in err
    code, _, err = command(capsys, "--data", tmp_path / "none")
    assert code == 1 and "none" in err
    assert main(["metrics", "run", "--help"]) == 0
    assert "fresh:stylegan3-r-256" in capsys.readouterr().out
