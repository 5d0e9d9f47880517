"""`editkit generate`: what it writes, what it keeps, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from editkit import cli
from editkit.errors import UsageError
from editkit.generating import MAX_SHEET_PIXELS, check_sheet, mixing_sheet, truncation_sheet
from editkit.generator import NetworkGenerator, load_generator, random_generator, save_generator
from editkit.labels import seeded_classes
from editkit.latent_file import read_latent
from editkit.photo import image_to_uint8, read_photo
from editkit.rendering import render
from editkit.sampling import sample_w
from editkit.transform import Transform

SIDE = 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generator") / "small.safetensors"
    save_generator(random_generator(resolution=SIDE, output_scale=0.8), path)
    return path


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generator") / "classes.safetensors"
    save_generator(random_generator(resolution=16, output_scale=0.8, c_dim=3), path)
    return path


@pytest.fixture
def G(checkpoint: Path) -> NetworkGenerator:
    return load_generator(checkpoint, device="cpu")


@pytest.fixture
def generate(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict]:
    """``generate(*options)``: into tmp_path/out with the small generator; what --json says."""

    def run(*options: str | Path, code: int = 0, source: Path = checkpoint) -> dict:
        fixed = ["--out", tmp_path / "out", "--generator", source, "--device", "cpu", "--json"]
        assert cli.main([str(word) for word in ["generate", *fixed, *options]]) == code
        return json.loads(capsys.readouterr().out or "{}")

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(path: Path, expected: torch.Tensor) -> bool:
    """Equal but for rounding: a batch of another size may differ in the last bit."""
    seen, wanted = (image_to_uint8(image).int() for image in (read_photo(path).image, expected))
    return seen.shape == wanted.shape and int((seen - wanted).abs().max()) <= 1


def test_a_picture_a_seed(generate, G, tmp_path: Path) -> None:
    said = generate("--seeds", "0-1,12", "--psi", "0.6", "--cutoff", "2", "--rotate", "-90", "--translate", "-.1,0")
    assert names(tmp_path / "out") == ["seed0000.png", "seed0001.png", "seed0012.png"]
    assert [(one["seed"], one["class"], one["psi"], one["kept"]) for one in said["pictures"]] == [
        (seed, None, 0.6, False) for seed in (0, 1, 12)
    ]
    codes = sample_w(G, [12], truncation_psi=0.6, truncation_cutoff=2)
    placed = Transform.translate(-0.1, 0) @ Transform.rotate(-90)
    assert same(tmp_path / "out" / "seed0012.png", render(G, codes, transform=placed))
    texts = Image.open(tmp_path / "out" / "seed0012.png").text
    assert texts["editkit"].startswith("This picture was edited with editkit")
    assert json.loads(texts["generate"])["seed"] == 12


def test_scale_comes_first_and_translation_last(generate, G, tmp_path: Path) -> None:
    generate("--seeds", "0", "--scale", "2", "--rotate", "90", "--translate", "0.25,0")
    placed = Transform.translate(0.25, 0) @ Transform.rotate(90) @ Transform.scale(2)
    assert same(tmp_path / "out" / "seed0000.png", render(G, sample_w(G, [0]), transform=placed))


def test_the_same_again_makes_only_what_is_missing_damaged_or_different(generate, tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate("--seeds", "0-3")
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "seed0001.png").unlink()
    (out / "seed0002.png").write_bytes((out / "seed0002.png").read_bytes()[:-200])
    said = generate("--seeds", "0-3")
    assert [one["kept"] for one in said["pictures"]] == [True, False, False, True]
    assert {
        name: (out / name).stat().st_mtime_ns for name in ("seed0000.png", "seed0003.png")
    }.items() <= before.items()
    assert [one["kept"] for one in generate("--seeds", "0-3")["pictures"]] == [True] * 4
    assert [one["kept"] for one in generate("--seeds", "0,1", "--psi", "0.5")["pictures"]] == [False, False]
    assert [one["kept"] for one in generate("--seeds", "0,2", "--latents")["pictures"]] == [False, False]


def test_one_picture_is_told_as_one(checkpoint: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    command = ["generate", "--seeds", "3", "--out", str(out), "--generator", str(checkpoint), "--device", "cpu"]
    assert cli.main(command) == 0 and capsys.readouterr().out == f"1 picture: {out / 'seed0003.png'}\n"
    assert cli.main(command) == 0 and "1 picture, there before: " in capsys.readouterr().out


def test_no_metadata(generate, tmp_path: Path) -> None:
    generate("--seeds", "0", "--no-metadata")
    assert Image.open(tmp_path / "out" / "seed0000.png").text == {}
    assert [one["kept"] for one in generate("--seeds", "0", "--no-metadata")["pictures"]] == [False]


def test_latents_are_kept(generate, G, tmp_path: Path) -> None:
    generate("--seeds", "4", "--latents", "--rotate", "30")
    kept = read_latent(tmp_path / "out" / "seed0004.safetensors")
    assert torch.allclose(kept.latent.tensor, sample_w(G, [4]).tensor) and kept.latent.space == "w"
    assert kept.transform is not None and torch.allclose(kept.transform.matrix, Transform.rotate(30).matrix)


def test_latents_beside_pictures_made_otherwise_are_made_again(generate, G, tmp_path: Path) -> None:
    """The picture at psi 1 is there already, the codes beside it are those of psi 0.5."""
    for options in (("--psi", "0.5", "--latents"), ("--psi", "1"), ("--psi", "1", "--latents")):
        generate("--seeds", "4", *options)
    kept = read_latent(tmp_path / "out" / "seed0004.safetensors")
    assert torch.allclose(kept.latent.tensor, sample_w(G, [4]).tensor)
    assert [one["kept"] for one in generate("--seeds", "4", "--latents")["pictures"]] == [True]
    assert [one["kept"] for one in generate("--seeds", "4")["pictures"]] == [True]


@pytest.mark.parametrize(("options", "files"), [(("--grid",), 5), (("--grid", "only"), 1)])
def test_a_sheet_of_all(generate, tmp_path: Path, options, files) -> None:
    generate("--seeds", "0-3", *options)
    assert len(names(tmp_path / "out")) == files
    assert read_photo(tmp_path / "out" / "grid.png").size == (2 * SIDE + 6, 2 * SIDE + 6)


def test_a_sheet_of_truncations(generate, G, tmp_path: Path) -> None:
    generate("--seeds", "0-1", "--psi", "-1..1:3")
    assert names(tmp_path / "out") == ["truncation.png"]
    sheet = read_photo(tmp_path / "out" / "truncation.png").image
    assert sheet.shape[2:] == (2 * SIDE + 6, 3 * SIDE + 8)
    middle = sheet[..., 2 : 2 + SIDE, SIDE + 4 : 2 * SIDE + 4]
    assert torch.equal(middle, sheet[..., SIDE + 4 : 2 * SIDE + 4, SIDE + 4 : 2 * SIDE + 4])  # the mean has no seed
    expected = render(G, sample_w(G, [1], truncation_psi=-1.0)).clamp(-1, 1)
    corner = truncation_sheet(G, [0, 1], [-1, 0, 1])[:, SIDE + 4 : 2 * SIDE + 4, 2 : 2 + SIDE].clamp(-1, 1)
    assert torch.allclose(corner, expected[0], atol=1e-4)


def test_a_sheet_of_mixed_styles(generate, G, tmp_path: Path) -> None:
    generate("--mix-rows", "0-1", "--mix-columns", "2,3,4", "--mix-layers", "0-2")
    assert names(tmp_path / "out") == ["mixing.png"]
    assert read_photo(tmp_path / "out" / "mixing.png").size == (4 * SIDE + 10, 3 * SIDE + 8)
    sheet = mixing_sheet(G, [0, 1], [2, 3, 4], [0, 1, 2])
    place = lambda row, column: sheet[:, 2 + row * (SIDE + 2) :, 2 + column * (SIDE + 2) :][:, :SIDE, :SIDE]  # noqa: E731
    row, column = sample_w(G, [1]), sample_w(G, [3])
    mixed = row.mix(column, [0, 1, 2])
    for (y, x), code in {(2, 0): row, (0, 2): column, (2, 2): mixed}.items():
        assert torch.allclose(place(y, x), render(G, code)[0], atol=1e-4)


def test_classes(generate, conditional: Path, tmp_path: Path, capsys) -> None:
    G = load_generator(conditional, device="cpu")
    drawn = generate("--seeds", "0-4", source=conditional)
    assert [one["class"] for one in drawn["pictures"]] == list(seeded_classes(G.spec, range(5)))
    said = generate("--seeds", "0-1", "--class", "2", source=conditional)
    assert [one["class"] for one in said["pictures"]] == [2, 2]
    assert same(tmp_path / "out" / "seed0001.png", render(G, sample_w(G, [1], classes=2)))
    said = generate("--seeds", "0", "--class", "0.5,0.5,0", source=conditional)
    assert said["pictures"][0]["class"] == [0.5, 0.5, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class", "1"], "has no classes"),
        (["--seeds", "0,0"], "a seed is given twice"),
        (["--seeds", "99999999999"], "out of range"),
        (["--cutoff", "99"], "truncation_cutoff is 0 to"),
        (["--psi", "0..1", "--grid"], "a range of --psi makes one sheet"),
        (["--mix-rows", "0"], "style mixing needs"),
        (["--mix-rows", "0", "--mix-columns", "1", "--mix-layers", "99"], "99"),
        (["--mix-rows", "0", "--mix-columns", "1", "--mix-layers", "0", "--seeds", "1"], "leave --seeds"),
        (["--grid", "only", "--latents"], "--latents go with single pictures"),
        (["--device", "tpu"], "unknown device"),
        (["--generator", "none.pkl"], "none.pkl"),
    ],
)
def test_wrong_use(checkpoint: Path, tmp_path: Path, capsys, options, message) -> None:
    fixed = ["generate", "--out", str(tmp_path / "out"), "--generator", str(checkpoint), "--device", "cpu"]
    assert cli.main([*fixed, *options]) in (1, 2)
    error = capsys.readouterr().err
    assert error.startswith("editkit: error: ") and message in error and error.count("\n") == 1
    assert not list(tmp_path.rglob("*.png"))


def test_a_sheet_too_large_to_look_at() -> None:
    G = random_generator(resolution=SIDE)
    most = MAX_SHEET_PIXELS // (SIDE + 2) ** 2
    check_sheet(G, most)
    for count in (most + 1, 0):
        with pytest.raises(UsageError, match="a sheet holds 1 to"):
            check_sheet(G, count)
