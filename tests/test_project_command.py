"""`editkit project`: what it writes, what it refuses, and how it goes on after a stop."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from directions import catalog
from editkit import cli
from editkit.direction import Direction
from editkit.edits import Edit, Recipe
from editkit.errors import OutputError, SchemaError
from editkit.generator import NetworkGenerator, load_generator, random_generator, save_generator
from editkit.latent_file import read_latent
from editkit.photo import image_to_uint8, read_photo
from editkit.rendering import render
from projector import Step, Stop, folder, report
from projector import cli as project_cli
from projector.folder import Source, photos_in
from projector.job import FILES
from projector.manifest import Manifest

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("--align", "centre", "--steps", "3")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generator") / "small.safetensors"
    save_generator(random_generator(resolution=32, alignment="faces128", output_scale=0.8), path)
    return path


@pytest.fixture
def G(checkpoint: Path) -> NetworkGenerator:
    return load_generator(checkpoint, device="cpu")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No direction of this machine's user is seen."""
    monkeypatch.setenv("EDITKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return make_photo(tmp_path / "me.png")


@pytest.fixture
def warmth(G: NetworkGenerator) -> Direction:
    vector = torch.randn(G.spec.w_dim, generator=torch.Generator().manual_seed(0))
    direction = Direction(
        name="warmth", vector=vector, space="w", generator=G.spec.id, strength=(-2.0, 3.0), unit="one of them"
    )
    catalog.save(G, direction)
    return direction


def make_photo(path: Path, *, seed: int = 0, side: int = 48) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def project(checkpoint: Path, tmp_path: Path) -> Callable[..., int]:
    """``project(photo, *options)``: into tmp_path/out, with the small generator, quickly."""

    def run(*arguments: str | Path, quick: bool = True) -> int:
        options = ["--out", tmp_path / "out", "--generator", checkpoint, "--device", "cpu", *(QUICK if quick else ())]
        return cli.main([str(word) for word in ["project", *options, *arguments]])

    return run


def rows(out: Path) -> dict[str, sqlite3.Row]:
    database = sqlite3.connect(out / "manifest.sqlite")
    database.row_factory = sqlite3.Row
    found = {row["name"]: row for row in database.execute("SELECT * FROM photos")}
    database.close()
    return found


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert err.startswith("editkit: error: ") and err.count("\n") == 1, err
    return err


# What is written


def test_one_photo_writes_the_layout(project, photo: Path, warmth: Direction, tmp_path: Path, capsys) -> None:
    assert project(photo, "--edit", "warmth=+1.5", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["manifest.sqlite", "me", "report.html"]
    assert sorted(path.name for path in (out / "me").iterdir()) == sorted(FILES)
    for name in ("aligned.png", "inverted.png", "edited.png"):
        assert pixels(out / "me" / name).shape == (32, 32, 3)
    assert pixels(out / "me" / "compare.png").shape == (256 + 16, 3 * 256 + 32, 3)
    assert pixels(out / "me" / "pasted.png").shape == (48, 48, 3)
    assert (pixels(out / "me" / "edited.png") != pixels(out / "me" / "inverted.png")).any()
    told = json.loads((out / "me" / "report.json").read_text(encoding="utf-8"))
    assert told["metrics"].keys() == {"psnr", "ssim", "mse", "perceptual"}
    assert all(isinstance(value, float) for value in told["metrics"].values())
    assert "data range 255" in told["metrics_are"]
    assert told["photo"] == {"name": "me.png", "size": [48, 48]}
    assert told["stop"] == "max-steps" and told["advice"] == Stop.MAX_STEPS.advice and told["steps"] == 3
    assert told["edits"] == [
        {"direction": "warmth", "strength": 1.5, "layers": None, "range": [-2.0, 3.0], "unit": "one of them"}
    ]
    assert told["zero_edit_is_identity"] is True and told["edit_change"]["mse"] > 0
    assert told["method"]["space"] == "w+" and told["method"]["seed"] == 0
    assert told["perceptual"]["name"] and told["perceptual"]["unit"] and told["versions"]["torch"] == torch.__version__
    assert told["seconds"]["total"] >= told["seconds"]["search"] > 0 and told["files"] == list(FILES)
    assert str(tmp_path) not in (out / "me" / "report.json").read_text(encoding="utf-8")  # no path of this machine
    (entry,) = said["photos"]
    assert entry["status"] == "done" and entry["metrics"] == told["metrics"] and entry["folder"] == str(out / "me")
    assert rows(out)["me.png"]["psnr"] == pytest.approx(told["metrics"]["psnr"])


def test_the_check_of_ci_accepts_it(project, photo: Path, warmth: Direction, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("check_main_job", ROOT / ".ci" / "check_main_job.py")
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    assert project(photo) == 0
    check.main(tmp_path / "out")
    assert project(photo, "--edit", "none") == 0
    with pytest.raises(SystemExit, match="edit changed nothing"):
        check.main(tmp_path / "out")


def test_the_latent_renders_the_inverted_picture_again(project, photo: Path, G, tmp_path: Path) -> None:
    assert project(photo) == 0
    kept = read_latent(tmp_path / "out" / "me" / "latent.safetensors")
    kept.latent.check(G.spec)
    image = render(G, kept.latent, transform=kept.transform)
    assert (image_to_uint8(image)[0].numpy() == pixels(tmp_path / "out" / "me" / "inverted.png")).all()
    assert kept.alignment["photo_size"] == [48, 48] and kept.alignment["convention"] == "centre"


def test_an_edit_of_strength_zero_changes_nothing(project, photo: Path, warmth: Direction, tmp_path: Path) -> None:
    assert project(photo, "--edit", "warmth=0") == 0
    folder = tmp_path / "out" / "me"
    assert (pixels(folder / "edited.png") == pixels(folder / "inverted.png")).all()
    assert json.loads((folder / "report.json").read_text())["edit_change"] == {
        "psnr": None, "ssim": 1.0, "mse": 0.0, "perceptual": 0.0
    }  # fmt: skip


def test_the_same_seed_writes_the_same_pictures(project, photo: Path, tmp_path: Path) -> None:
    taken = []
    for seed in ("0", "0", "1"):
        assert project(photo, "--seed", seed, "--force") == 0
        taken.append((tmp_path / "out" / "me" / "inverted.png").read_bytes())
    assert taken[0] == taken[1] != taken[2]


def test_pictures_hold_the_recipe_unless_that_is_not_wanted(project, photo: Path, warmth, G, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "me"
    assert project(photo, "--edit", "warmth=2") == 0
    for name in ("edited.png", "compare.png", "pasted.png"):
        text = Image.open(folder / name).text
        assert "edited with editkit" in text["editkit"]
        assert Recipe.from_json(text["recipe"]).edits[0].strength == 2
        assert torch.equal(Recipe.from_json(text["recipe"]).edits[0].direction.vector, warmth.vector)
    assert Image.open(folder / "aligned.png").text == {}
    assert project(photo, "--edit", "warmth=2", "--no-metadata") == 0
    for name in FILES[:5]:
        assert Image.open(folder / name).text == {}


def test_transparency_is_put_back(project, tmp_path: Path) -> None:
    picture = np.full((48, 48, 4), 200, np.uint8)
    picture[:8, :, 3] = 0
    Image.fromarray(picture).save(tmp_path / "logo.png")
    assert project(tmp_path / "logo.png") == 0
    assert (pixels(tmp_path / "out" / "logo" / "pasted.png")[..., 3] == picture[..., 3]).all()


def test_the_sample_photo_is_used_where_none_is_given(project, tmp_path: Path, capsys) -> None:
    assert project("--steps", "2", quick=False) == 0
    told = json.loads((tmp_path / "out" / "astronaut" / "report.json").read_text())
    assert told["crop"] == {"convention": "faces128", "side": 32}
    assert "compare.png" in capsys.readouterr().out


@pytest.mark.parametrize(("method", "space"), [("auto", "w+"), ("w", "w"), ("w+", "w+")])
def test_the_method_chooses_the_space(project, photo: Path, tmp_path: Path, method: str, space: str) -> None:
    assert project(photo, "--method", method) == 0
    assert read_latent(tmp_path / "out" / "me" / "latent.safetensors").latent.space == space


def test_the_budget_governs(project, photo: Path, tmp_path: Path) -> None:
    assert project(photo, "--align", "centre", "--budget", "0.5s", quick=False) == 0
    told = json.loads((tmp_path / "out" / "me" / "report.json").read_text())
    assert told["stop"] == "budget" and told["method"]["steps"] > 10_000 and 0.5 <= told["seconds"]["search"] < 10


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("2m", 120), ("90", 90), ("1.5h", 5400), ("0.5 min", 30)])
def test_times(text: str, seconds: float) -> None:
    assert project_cli._seconds(text) == seconds


def test_quiet_prints_nothing(project, photo: Path, capsys) -> None:
    assert project(photo, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


# Edits


def test_the_default_edit_is_the_first_at_hand(project, photo: Path, warmth: Direction, tmp_path: Path) -> None:
    assert project(photo) == 0
    told = json.loads((tmp_path / "out" / "me" / "report.json").read_text())
    assert [(edit["direction"], edit["strength"]) for edit in told["edits"]] == [("warmth", pytest.approx(0.7 * 3))]
    assert "no --edit was given" in told["edit_note"]


def test_no_direction_at_hand_is_said_and_nothing_is_edited(project, photo: Path, tmp_path: Path, capsys) -> None:
    assert project(photo) == 0
    folder = tmp_path / "out" / "me"
    assert "no directions are at hand" in capsys.readouterr().out
    assert "no directions are at hand" in json.loads((folder / "report.json").read_text())["edit_note"]
    assert (pixels(folder / "edited.png") == pixels(folder / "inverted.png")).all()


def test_edit_none_edits_nothing(project, photo: Path, warmth: Direction, tmp_path: Path) -> None:
    assert project(photo, "--edit", "none") == 0
    told = json.loads((tmp_path / "out" / "me" / "report.json").read_text())
    assert told["edits"] == [] and told["edit_note"] is None


def test_beyond_the_range_is_warned_of(project, photo: Path, warmth: Direction, capsys) -> None:
    assert project(photo, "--edit", "warmth=9") == 0
    assert "warmth +9 is outside -2 to +3" in capsys.readouterr().err


def test_a_recipe_is_used_and_named_directions_are_looked_up(project, photo, warmth, tmp_path: Path) -> None:
    Recipe(name="mine", edits=(Edit("warmth", 1.0),)).save(tmp_path / "mine.json")
    assert project(photo, "--recipe", tmp_path / "mine.json") == 0
    named = (tmp_path / "out" / "me" / "edited.png").read_bytes()
    Recipe(name="mine", edits=(Edit(warmth, 1.0),)).save(tmp_path / "mine.json")
    assert project(photo, "--recipe", tmp_path / "mine.json", "--force") == 0
    assert (tmp_path / "out" / "me" / "edited.png").read_bytes() == named


def test_a_recipe_of_another_generator_is_refused(project, photo: Path, tmp_path: Path, capsys) -> None:
    other = random_generator(seed=1, resolution=32)
    foreign = Direction(name="warmth", vector=torch.ones(32), space="w", generator=other.spec.id)
    Recipe(name="theirs", edits=(Edit(foreign, 1.0),)).save(tmp_path / "theirs.json")
    assert project(photo, "--recipe", tmp_path / "theirs.json") == 1
    assert other.spec.id[:12] in one_line(capsys)
    assert not (tmp_path / "out").exists()


# Wrong use


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--edit", "warmth"], "NAME=STRENGTH"),
        (["--edit", "=2"], "NAME=STRENGTH"),
        (["--edit", "warmth=much"], "NAME=STRENGTH"),
        (["--edit", "warmth=nan"], "NAME=STRENGTH"),
        (["--edit", "no-such-one=1"], "no directions are at hand"),
        (["--edit", "none", "--edit", "warmth=1"], "stands alone"),
        (["--edit", "warmth=1", "--recipe", "r.json"], "not allowed with"),
        (["--budget", "soon"], "60s"),
        (["--budget", "0"], "60s"),
        (["--budget", "-5"], "60s"),
        (["--budget", "3 parsecs"], "60s"),
        (["--steps", "0"], "at least 1"),
        (["--method", "magic"], "invalid choice"),
        (["--box", "1,2,3"], "four numbers"),
        (["--box", "0,0,-5,9"], "box"),
        (["--face", "-1"], "0 being the largest"),
        (["--class", "1"], "has no classes"),
    ],
)
def test_wrong_use_exits_2(project, photo: Path, options: list[str], hint: str, capsys) -> None:
    assert project(photo, *options) == 2
    err = capsys.readouterr().err
    assert hint in err and "Traceback" not in err


def test_an_unknown_direction_names_the_known_ones(project, photo: Path, warmth: Direction, capsys) -> None:
    assert project(photo, "--edit", "warmht=1") == 2
    assert "warmth" in one_line(capsys)


def test_folders_take_no_box_and_are_not_their_own_output(project, tmp_path: Path, capsys) -> None:
    make_photo(tmp_path / "out" / "a.png")
    assert project(tmp_path / "out", "--box", "1,2,30,30") == 2
    assert "--box" in one_line(capsys)
    assert project(tmp_path / "out") == 2
    assert "choose another" in one_line(capsys)


@pytest.mark.parametrize("source", ["no-such-generator", "missing.safetensors", "missing.pkl"])
def test_an_unknown_generator_is_one_line(project, photo: Path, tmp_path: Path, source: str, capsys) -> None:
    assert project(photo, "--generator", tmp_path / source if "." in source else source) == 1
    assert source in one_line(capsys)


# Bad photos


def huge_header() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def bad_photo(kind: str, folder: Path) -> Path:
    if kind == "truncated":
        path = make_photo(folder / "bad.jpg", side=200)
        path.write_bytes(path.read_bytes()[:900])
        return path
    if kind == "tiny":
        Image.new("RGB", (1, 1)).save(folder / "bad.png")
        return folder / "bad.png"
    name, data = {
        "empty": ("bad.jpg", b""),
        "text": ("bad.jpg", b"this is no picture\n"),
        "huge": ("bad.png", huge_header()),
    }[kind]
    (folder / name).write_bytes(data)
    return folder / name


BAD = {"empty": "empty", "text": "not a picture", "truncated": "damaged", "tiny": "1 x 1", "huge": "too large"}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_photo_is_one_line_and_exit_1(project, tmp_path: Path, kind: str, capsys) -> None:
    started = time.monotonic()
    path = bad_photo(kind, tmp_path)
    assert project(path) == 1
    message = one_line(capsys)
    assert BAD[kind] in message and path.name in message
    row = rows(tmp_path / "out")[path.name]
    assert row["status"] == "failed" and row["error"] in message
    assert BAD[kind] in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not (tmp_path / "out" / "bad").exists()
    assert time.monotonic() - started < 20


def test_a_missing_photo_makes_no_folder(project, tmp_path: Path, capsys) -> None:
    assert project(tmp_path / "nobody.jpg") == 1
    assert "nobody.jpg" in one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_an_error(project, tmp_path: Path, capsys) -> None:
    (tmp_path / "photos").mkdir()
    assert project(tmp_path / "photos") == 1
    assert "holds no pictures" in one_line(capsys)


def test_a_photo_without_a_face_names_two_ways_on(project, photo: Path, capsys) -> None:
    assert project(photo, "--steps", "2", quick=False) == 1
    message = one_line(capsys)
    assert "--align centre" in message and "--box" in message


def test_a_generator_of_nan_fails_with_a_reason(project, photo: Path, G, monkeypatch, capsys) -> None:
    class Broken:
        spec, w_avg, device, map = G.spec, G.w_avg, G.device, G.map

        def synthesize(self, latent, *, transform=None):
            return G.synthesize(latent, transform=transform) * float("nan")

    monkeypatch.setattr("editkit.generator.load_generator", lambda source, device: Broken())
    assert project(photo) == 1
    assert "NaN" in capsys.readouterr().err.splitlines()[-1]


# Output that cannot be written


def test_a_read_only_output_folder(project, photo: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(os, "access", lambda *a, **k: False)  # root may write anywhere: the refusal is played
    assert project(photo) == 1
    assert "no permission" in one_line(capsys)


@pytest.mark.parametrize("blocker", ["out", "out/me"])
def test_a_file_in_the_way(project, photo: Path, tmp_path: Path, blocker: str, capsys) -> None:
    path = tmp_path / blocker
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    assert project(photo) == 1
    assert "is a file" in one_line(capsys)
    assert path.read_text() == "precious"


def test_a_full_disk_leaves_nothing_half(project, photo: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    save, seen = Image.Image.save, []

    def full(self, path, *args, **options):
        seen.append(path)
        if len(seen) == 3:
            Path(path).write_bytes(b"half a picture")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, path, *args, **options)

    monkeypatch.setattr(Image.Image, "save", full)
    assert project(photo) == 1
    assert "no space left" in one_line(capsys)
    assert sorted(path.name for path in (tmp_path / "out" / "me").iterdir()) == ["aligned.png", "inverted.png"]
    assert rows(tmp_path / "out")["me.png"]["status"] == "pending"
    monkeypatch.setattr(Image.Image, "save", save)
    assert project(photo) == 0
    assert rows(tmp_path / "out")["me.png"]["status"] == "done"


def test_a_full_disk_ends_a_folder_at_once(project, tmp_path: Path, monkeypatch, capsys) -> None:
    for name in "ab":
        make_photo(tmp_path / "photos" / f"{name}.png")

    def full(*args, **options):
        raise OutputError("no space left")

    monkeypatch.setattr(folder, "write", full)
    assert project(tmp_path / "photos") == 1
    assert "no space left" in one_line(capsys)
    assert list(rows(tmp_path / "out")) == ["a.png"]


# Stopping


def interrupt_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Ctrl-C in the step ``count`` of the process, counted over photos."""
    step, seen = project_cli._Screen.step, []

    def interrupted(self, found: Step) -> None:
        seen.append(found)
        step(self, found)
        if len(seen) == count:
            raise KeyboardInterrupt

    monkeypatch.setattr(project_cli._Screen, "step", interrupted)


def test_ctrl_c_writes_the_best_so_far_of_one_photo(project, photo: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        assert project(photo, "--json") == 130
    said = json.loads(capsys.readouterr().out)
    assert said["interrupted"] is True and said["photos"][0]["stop"] == "cancelled"
    told = json.loads((tmp_path / "out" / "me" / "report.json").read_text())
    assert told["stop"] == "cancelled" and told["advice"] == Stop.CANCELLED.advice and told["steps"] == 2
    assert sorted(path.name for path in (tmp_path / "out" / "me").iterdir()) == sorted(FILES)
    assert project(photo) == 0  # it does not count as done
    assert json.loads((tmp_path / "out" / "me" / "report.json").read_text())["stop"] == "max-steps"


def test_ctrl_c_in_a_folder_leaves_nothing_half_and_goes_on_later(project, tmp_path: Path, monkeypatch, capsys) -> None:
    for index, name in enumerate("abc"):
        make_photo(tmp_path / "photos" / f"{name}.png", seed=index)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)  # the second step of the second photo
        assert project(tmp_path / "photos") == 130
    assert "goes on" in capsys.readouterr().err
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["a", "manifest.sqlite", "report.html"]
    assert {name: row["status"] for name, row in rows(out).items()} == {"a.png": "done", "b.png": "pending"}
    assert "Not finished" in (out / "report.html").read_text(encoding="utf-8")
    written = (out / "a" / "report.json").stat().st_mtime_ns
    assert project(tmp_path / "photos") == 0
    assert {row["status"] for row in rows(out).values()} == {"done"} and len(rows(out)) == 3
    assert (out / "a" / "report.json").stat().st_mtime_ns == written


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_a_real_ctrl_c(checkpoint: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "editkit",
        "project",
        str(photo),
        "--out",
        str(out),
        "--generator",
        str(checkpoint),
    ]
    command += ["--align", "centre", "--steps", "1000000", "--budget", "200s", "--verbose", "--device", "cpu"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background inherits "ignore"
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "step 1," in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.communicate(timeout=120)[1]
    assert process.returncode == 130, "".join(lines) + rest
    assert "Traceback" not in rest
    assert json.loads((out / "me" / "report.json").read_text())["stop"] == "cancelled"
    assert sorted(path.name for path in (out / "me").iterdir()) == sorted(FILES)


# Folders


def test_a_folder_is_worked_through_and_gone_on_with(project, tmp_path: Path, capsys) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    make_photo(photos / "me.png", seed=1)
    make_photo(photos / "trip" / "me.jpg", seed=2)
    make_photo(photos / "trip" / "<b>&.png", seed=3)
    bad = photos / "broken.jpg"
    bad.write_bytes(b"<script>no picture</script>")
    assert project(photos, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert said["failed"] == 1 and [entry["status"] for entry in said["photos"]].count("done") == 3
    found = rows(out)
    assert {name: row["folder"] for name, row in found.items()} == {
        "me.png": "me", "trip/me.jpg": "me-2", "trip/<b>&.png": "<b>&", "broken.jpg": "broken"
    }  # fmt: skip
    assert found["broken.jpg"]["status"] == "failed" and "not a picture" in found["broken.jpg"]["error"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;.png" in page and "<b>&" not in page and 'src="%3Cb%3E%26/aligned.png"' in page

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    assert project(photos, "--json") == 1  # the failed one is tried again, and nothing else
    said = json.loads(capsys.readouterr().out)
    assert sorted((entry["photo"], entry["skipped"]) for entry in said["photos"]) == [
        ("broken.jpg", False), ("me.png", True), ("trip/<b>&.png", True), ("trip/me.jpg", True)
    ]  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.json")} == before

    make_photo(tmp_path / "good.jpg", seed=4).replace(bad)
    assert project(photos) == 0
    assert rows(out)["broken.jpg"]["status"] == "done"
    capsys.readouterr()
    assert project(photos, "--force", "--json") == 0
    assert [entry["skipped"] for entry in json.loads(capsys.readouterr().out)["photos"]] == [False] * 4


@pytest.mark.parametrize("change", ["nothing", "force", "settings", "photo", "result"])
def test_what_is_done_again(project, photo: Path, tmp_path: Path, change: str, capsys) -> None:
    assert project(photo) == 0
    capsys.readouterr()
    options = {"force": ["--force"], "settings": ["--seed", "7"]}.get(change, [])
    if change == "photo":
        make_photo(photo, seed=9)
        os.utime(photo, (1, 1))
    if change == "result":
        (tmp_path / "out" / "me" / "edited.png").unlink()
    assert project(photo, *options) == 0
    assert ("done before" in capsys.readouterr().out) is (change == "nothing")
    assert len(rows(tmp_path / "out")) == 1


def test_an_unexpected_error_in_one_photo_does_not_end_the_run(project, tmp_path: Path, monkeypatch) -> None:
    for name in "ab":
        make_photo(tmp_path / "photos" / f"{name}.png")
    work = folder.work

    def sometimes(job, photo, *, on_step=None):
        if photo.path.stem == "a":
            raise ZeroDivisionError("division by zero")
        return work(job, photo, on_step=on_step)

    monkeypatch.setattr(folder, "work", sometimes)
    assert project(tmp_path / "photos") == 1
    found = rows(tmp_path / "out")
    assert found["a.png"]["error"] == "ZeroDivisionError: division by zero" and found["b.png"]["status"] == "done"


def test_photos_are_found_in_sub_folders(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/c.png", "a/.hidden.png", ".cache/d.png", "old/e.png", "out/f.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "old" / "manifest.sqlite").touch()  # an earlier run's output
    found = [path.relative_to(tmp_path).as_posix() for path in photos_in(tmp_path, skip=tmp_path / "out")]
    assert found == ["a/c.png", "b.JPG"]


# Manifest and page


def test_the_manifest_keeps_folders_apart(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        for path, stem in (("1", "me"), ("2", "Me"), ("3", "me"), ("4", "report.html"), ("1", "me")):
            manifest.begin(path, name=path, stem=stem, settings="s", fingerprint="f")
        assert {row.path: row.folder for row in manifest.records()} == {
            "1": "me", "2": "Me-2", "3": "me-3", "4": "report.html-2"
        }  # fmt: skip


def test_a_newer_manifest_is_refused(tmp_path: Path, project, photo: Path, capsys) -> None:
    (tmp_path / "out").mkdir()
    database = sqlite3.connect(tmp_path / "out" / "manifest.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(SchemaError, match="99"):
        Manifest(tmp_path / "out")
    assert project(photo) == 1
    assert "update editkit" in one_line(capsys)


@pytest.mark.parametrize("kind", ["text", "other"])
def test_a_file_that_is_no_manifest_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "manifest.sqlite"
    if kind == "text":
        path.write_text("shopping list\n" * 100)
    else:
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE photos (album TEXT)")
        database.close()
    before = path.read_bytes()
    with pytest.raises(OutputError, match="not a manifest"):
        Manifest(tmp_path)
    assert path.read_bytes() == before


def test_the_page_asks_nothing_of_any_network(project, photo: Path, warmth: Direction, tmp_path: Path) -> None:
    assert project(photo) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "://" not in page and "<script" not in page and "@import" not in page
    assert "prefers-color-scheme: dark" in page and 'src="me/aligned.png"' in page and "warmth +2.1" in page
    assert Stop.MAX_STEPS.advice in page


def test_the_page_of_nothing_is_still_a_page() -> None:
    assert "0 done" in report.page([])


def test_the_sample_and_files_have_keys_of_their_own(photo: Path) -> None:
    assert Source(path=None, name="astronaut").key == "sample:astronaut"
    assert Source(path=photo, name="me.png").key == str(photo.resolve())
    assert Source(path=photo, name="me.png").read().size == read_photo(photo).size
    shutil.copy2(photo, photo.with_name("copy.png"))
    assert Source(path=photo, name="x").key != Source(path=photo.with_name("copy.png"), name="x").key
