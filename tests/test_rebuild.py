"""`editkit rebuild`: the picture of the main job."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import directions
from editkit import cli
from editkit.direction import Direction
from editkit.errors import DirectionError, EditkitError, UsageError
from editkit.generator import load_generator, random_generator
from train import rebuild
from train.direction_table import BEGIN, END, direction_table, update_page
from train.rebuild import show_main_job

ROOT = Path(__file__).resolve().parents[1]


def test_the_picture_is_what_the_main_job_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def project(arguments: list[str]) -> int:
        assert arguments[0] == "project"
        folder = Path(arguments[arguments.index("--out") + 1]) / "astronaut"
        folder.mkdir()
        (folder / "compare.png").write_bytes(b"new")
        return 0

    monkeypatch.setattr(cli, "main", project)
    show_main_job(tmp_path / "compare.png")
    assert (tmp_path / "compare.png").read_bytes() == b"new"


def test_a_failed_main_job_leaves_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compare.png").write_bytes(b"old")
    monkeypatch.setattr(cli, "main", lambda arguments: 1)
    with pytest.raises(EditkitError, match="ended with 1"):
        show_main_job(tmp_path / "compare.png")
    assert (tmp_path / "compare.png").read_bytes() == b"old"


def test_every_picture_of_the_documentation_is_shown_somewhere_or_a_sheet_of_the_generator() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
    stray = [
        path.name
        for path in (ROOT / "docs" / "images").iterdir()
        if f"images/{path.name}" not in texts and not path.name.startswith("faces64_samples")
    ]
    assert not stray


def test_a_stopped_rebuild_goes_on_where_it_was(tmp_path: Path) -> None:
    ran: list[str] = []
    said: list[str] = []

    def stop() -> None:
        raise KeyboardInterrupt

    def stages(generator: str = "a") -> rebuild.Stages:
        return rebuild.Stages(tmp_path / "rebuild.json", of=(generator, "data.zip"), say=said.append)

    first = stages()
    first.run("sheets", lambda: ran.append("sheets"))
    with pytest.raises(KeyboardInterrupt):
        first.run("encoder", stop)
    again = stages()
    for name in ("sheets", "encoder"):
        again.run(name, lambda name=name: ran.append(name))
    assert ran == ["sheets", "encoder"] and said[0].startswith("sheets: done before")
    stages("b").run("sheets", lambda: ran.append("sheets of b"))
    assert ran[-1] == "sheets of b"
    (tmp_path / "rebuild.json").write_text("[")
    assert stages("b").done == [] and "cannot be read" in said[-1]


def test_ctrl_c_of_a_command_is_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cli, "main", lambda arguments: cli.EXIT_INTERRUPTED)
    with pytest.raises(KeyboardInterrupt):
        show_main_job(tmp_path / "compare.png")


@pytest.mark.parametrize("evaluated", [True, False])
def test_an_encoder_that_fits_is_kept_once_it_is_evaluated(
    evaluated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    encoder, ran = tmp_path / "encoder.safetensors", []
    encoder.write_bytes(b"weights")
    training = {"training": {"evaluation": {}} if evaluated else {}}
    network = SimpleNamespace(parameters=lambda: [torch.zeros(3)])
    for name, value in {
        "ENCODER": encoder, "fitting_encoder": lambda G: encoder, "read_header": lambda path: training,
        "load_encoder": lambda G: (network, SimpleNamespace(shrink=torch.zeros(1, 2))),
        "encoder_card": lambda *_, **counts: f"card {counts}",
    }.items():  # fmt: skip
        monkeypatch.setattr(rebuild, name, value)
    monkeypatch.setattr(cli, "main", lambda arguments: ran.append(arguments[:2]) or 0)
    rebuild.rebuild_encoder(None, tmp_path, minutes=1.0, say=lambda text: None)
    assert ran == ([] if evaluated else [["train", "encoder"]])
    assert encoder.with_suffix(".md").read_text() == "card {'parameters': 3, 'directions': 2}"


def test_everything_is_rebuilt_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The long stages are noted; the pictures and the page are real."""
    monkeypatch.chdir(tmp_path)
    G, order = random_generator(seed=1, resolution=16), []
    one = Direction(name="tone", vector=torch.ones(G.spec.w_dim), space="w", generator=G.spec.id)
    faces = SimpleNamespace(
        images=np.zeros((4, 16, 16, 3), np.uint8), is_evaluation=np.ones(4, bool), ages=np.zeros(4), genders=np.zeros(4)
    )
    models, sheets = tmp_path / "models", tmp_path / "docs" / "images"
    models.mkdir()
    sheets.mkdir(parents=True)
    (tmp_path / "docs" / "directions.md").write_text(f"{BEGIN}\n{END}\n")
    for name, value in {
        "MODELS": models, "load_generator": lambda path: G, "load_faces": lambda path, resolution: faces,
        "failures": lambda direction: [], "remove_former": lambda *_: None,
        "build": lambda *_, **__: order.append("directions"), "read_header": lambda path: {},
        "judge": lambda *_, **__: SimpleNamespace(beside={}), "all_scorers": lambda: (),
        "rebuild_encoder": lambda *_, minutes, **__: order.append(f"encoder {minutes:g}"),
        "show_main_job": lambda picture: order.append(picture.name),
        "evaluate": lambda *_, labels, **__: order.append(" ".join(labels)),
        "generator_card": lambda header, figures, passing: f"card of {passing[0].name}",
    }.items():  # fmt: skip
        monkeypatch.setattr(rebuild, name, value)
    found = [one]
    monkeypatch.setattr(rebuild, "bundled_of", lambda G: found)

    def stop(picture: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rebuild, "show_main_job", stop)
        rebuild.rebuild(data=tmp_path, unseen=tmp_path, sheets=sheets, encoder_minutes=3)
    assert order == ["encoder 3", "directions"]
    found.clear()  # somebody put the bundle back
    with pytest.raises(DirectionError, match="to look for them again"):
        rebuild.rebuild(data=tmp_path, unseen=tmp_path, sheets=sheets, encoder_minutes=3)
    assert (sheets / "direction_tone.png").is_file() and not (models / "faces64.md").exists()
    found.append(one)
    rebuild.rebuild(data=tmp_path, unseen=tmp_path, sheets=sheets, encoder_minutes=3)
    assert order == ["encoder 3", "directions", "compare.png", "age gender presentation"]
    assert (models / "faces64.md").read_text() == "card of tone"
    assert sorted(p.name for p in sheets.iterdir()) == [
        "direction_tone.png", "faces64_samples.png", "faces64_samples_psi07.png",
    ]  # fmt: skip
    assert "`tone`" in (tmp_path / "docs" / "directions.md").read_text()
    assert not (tmp_path / "runs" / "rebuild.json").exists()


def test_directions_and_banks_of_former_generators_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "bundled_directions", lambda: tmp_path)
    monkeypatch.setattr(rebuild, "bundled_bank", lambda generator: tmp_path / f"{generator[:12]}.bank.safetensors")
    for generator in ("a" * 12, "b" * 12):
        (tmp_path / generator).mkdir()
        (tmp_path / f"{generator}.bank.safetensors").write_bytes(b"bank")
    (tmp_path / "README.md").write_bytes(b"kept")
    said: list[str] = []
    rebuild.remove_former("b" * 64, said.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "b" * 12, f"{'b' * 12}.bank.safetensors"]
    assert len(said) == 2


def test_strips_of_directions_are_those_that_there_are(tmp_path: Path) -> None:
    G = random_generator(seed=1, resolution=16)
    (tmp_path / "direction_old.png").write_bytes(b"old")
    (tmp_path / "compare.png").write_bytes(b"kept")
    one = Direction(name="tone", vector=torch.ones(G.spec.w_dim), space="w", generator=G.spec.id)
    rebuild.show_directions(G, [one], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compare.png", "direction_tone.png"]


def test_the_table_of_directions_is_written_between_its_marks(tmp_path: Path) -> None:
    scores = {"effect:tone": 1.0, "effect:hue": -0.2, "effect:grain": 0.1}
    halves = {"low:tone": 1.0, "high:tone": 1.25, "error": 0.04}
    judged = {**scores, **halves, "leakage": 0.2, "monotonicity": 0.95, "kept": 0.9, "separability": 1.25}
    made = [
        Direction(name=name, vector=torch.ones(4), space="w", generator="g", strength=(-2, 2), scores=figures)
        for name, figures in (("tone", judged), ("hue", {**judged, "effect:hue": 1.0, "low:hue": 1.0, "leakage": 0.4}))
    ]
    page = tmp_path / "directions.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):  # a second time changes nothing
        update_page(page, direction_table(made, samples=96, pictures="images"))
    lines = page.read_text().splitlines()
    assert (
        lines[0] == "before"
        and lines[-1] == "after"
        and "old" not in lines
        and "1 pass" in lines[3]
        and "at most 0.04" in lines[3]
    )
    rows = [line for line in lines if line.startswith("| `")]
    assert rows == ["| `tone` | w | -2.00 to +2.00 | 1.00 | 1.25 | 0.20 (hue) | 95% | 90% | 1.25 |"]
    assert "- `hue`: leakage of 0.40 is above 0.3" in lines and "![hue](images/direction_hue.png)" not in lines
    assert "![tone](images/direction_tone.png)" in lines
    page.write_text("no marks")
    with pytest.raises(UsageError, match="has no lines"):
        update_page(page, "")


def test_the_documentation_has_the_marks_and_shows_what_is_bundled(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("EDITKIT_HOME", str(tmp_path))
    text = (ROOT / "docs" / "directions.md").read_text(encoding="utf-8")
    table = text[text.index(BEGIN) : text.index(END)]
    G = load_generator()
    assert all(f"`{name}`" in table for name in directions.names(G))
    for name in directions.offered(G):
        assert f"| `{name}` |" in table and (ROOT / "docs" / "images" / f"direction_{name}.png").is_file()


def test_labelling_says_a_line_each_thousand_samples() -> None:
    said: list[str] = []
    report = rebuild.labelling(said.append)
    for done in (32, 64, 992, 1024, 1056, 2016, 2500):
        report(done, 2500)
    assert [int(line.split()[1]) for line in said] == [32, 1024, 2016, 2500]


def test_scores_that_do_not_count_are_told_under_the_table() -> None:
    one = Direction(name="tone", vector=torch.ones(4), space="w", generator="g", strength=(-2, 2))
    beside = {"tone": {"pitch": 0.31, "roll": 0.29, "detail": 1.5}}
    assert "or more (`editkit directions score NAME --all`): `tone` detail 1.50, pitch 0.31." in direction_table(
        [one], samples=96, pictures="images", beside=beside
    )
    assert "--all`): none." in direction_table([one], samples=96, pictures="images", beside={"tone": {}})
