"""`editkit directions`: list, show, remove, export and build on a generator of two matrices."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from directions_command import G, run
from linear_generator import LinearGenerator

from directions import attributes, catalog, find_cli, score
from directions.bank import SampleBank
from editkit.direction import Direction
from editkit.option_types import number_list


def test_nothing_at_hand(G, capsys):
    code, printed = run(capsys, "list")
    assert code == 0 and "none for linear; make some with `editkit directions find`" in printed.out
    code, printed = run(capsys, "show", "warmth")
    assert code == 1 and printed.err.startswith("editkit: error: no directions are at hand")


def test_list_and_show(G, capsys, tmp_path):
    warmth = Direction(
        name="warmth", vector=torch.ones(4), space="w", generator=G.spec.id, unit="one sd", scores={"leakage": 0.25}
    )
    catalog.save(G, warmth)
    for action in (["list"], []):
        code, printed = run(capsys, *action)
        assert code == 0 and printed.out.split() == [
            *("warmth", "-3.0", "to", "+3.0", "w", "user", "one", "sd"),
            *("(not", "offered:", "it", "was", "never", "judged)"),
        ]
    code, printed = run(capsys, "show", "warmth", "--image", tmp_path / "w.png", "--samples", 2)
    assert code == 0 and "touches_placement  True" in printed.out and "+0.250" in printed.out
    assert "warmth: not offered: it was never judged" in printed.out
    from PIL import Image

    with Image.open(tmp_path / "w.png") as picture:
        assert picture.size == (5 * 18 + 2, 2 * 18 + 2)
    code, printed = run(capsys, "show", "warmht")
    assert code == 1 and "there are: warmth" in printed.err
    code, printed = run(capsys, "list", "--json")
    assert json.loads(printed.out)["directions"][0]["name"] == "warmth"


def test_the_list_names_what_to_type_and_show_takes_a_file(G, capsys):
    path = catalog.save(G, Direction(name="warmth", vector=torch.ones(4), space="w", generator=G.spec.id))
    path = path.rename(path.with_name("tone.safetensors"))
    code, printed = run(capsys, "list")
    assert code == 0 and printed.out.split()[0] == "tone" and "warmth" not in printed.out
    code, printed = run(capsys, "list", "--json")
    assert json.loads(printed.out)["directions"][0]["name"] == "tone"
    for asked in ("tone", path):
        code, printed = run(capsys, "show", asked)
        assert code == 0 and "touches_placement" in printed.out, printed.err


def test_the_list_says_where_they_come_from_and_passes_over_damaged_ones(G, capsys, tmp_path, caplog):
    judged = {"effect:warmth": 1.0, "low:warmth": 1.0, "high:warmth": 1.2, "leakage": 0.1, "monotonicity": 1.0}
    one = Direction(name="warmth", vector=torch.ones(4), space="w", generator=G.spec.id, scores=judged)
    catalog.save(G, one, folder=tmp_path / "bundled")
    catalog.save(G, replace(one, name="tone"))
    catalog.save(G, replace(one, name="bought", method="imported"))
    (catalog.folder_of(G.spec.id, catalog.user_directions()) / "broken.safetensors").write_bytes(b"no")
    code, printed = run(capsys, "list", "--json")
    assert code == 0
    found = {row["name"]: row["origin"] for row in json.loads(printed.out)["directions"]}
    assert found == {"bought": "imported", "tone": "user", "warmth": "bundled"} and "broken" in caplog.text
    assert catalog.offered(G) == ("bought", "tone", "warmth") and catalog.origin(G, "none") == ""


def test_a_name_that_hides_a_bundled_one_says_so(G, capsys, tmp_path):
    basis = {name: 10 * row for name, row in zip(("a", "b", "c", "d"), torch.eye(4), strict=True)}
    for name, row in basis.items():
        catalog.save(G, Direction(name=name, vector=row, space="w", generator=G.spec.id))
    code, printed = run(capsys, "name", "--samples", 300, "--json")
    proposed = {one["name"] for one in json.loads(printed.out)["proposals"]} - set(basis)
    assert proposed, "nothing goes with a score"
    for name in proposed:
        catalog.save(G, replace(catalog.load(G, "a"), name=name), folder=tmp_path / "bundled")
    code, printed = run(capsys, "name", *basis, "--samples", 300, "--apply")
    assert code == 0 and all(f"it hides the bundled {name!r} until" in printed.out for name in proposed)


def test_remove(G, capsys, tmp_path):
    one = Direction(name="beard", vector=torch.ones(4), space="w", generator=G.spec.id)
    code, printed = run(capsys, "remove", "beard")
    assert code == 1 and "no direction 'beard' of your own for 'linear'" in printed.err and "have none" in printed.err
    for name in ("beard", "hat"):
        catalog.save(G, replace(one, name=name))
    catalog.save(G, replace(one, name="warmth"), folder=tmp_path / "bundled")
    code, printed = run(capsys, "remove", "berd")
    assert code == 1 and "yours are: beard, hat" in printed.err
    code, printed = run(capsys, "remove", "warmth")
    assert code == 1 and "'warmth' comes with the package and stays" in printed.err
    assert catalog.names(G) == ("beard", "hat", "warmth")
    path = catalog.find_files(G.spec)["beard"]
    path.write_bytes(b"damaged")  # goes all the same
    code, printed = run(capsys, "remove", "beard")
    assert code == 0 and f"removed beard, {path}\n" == printed.out and not path.exists()
    code, printed = run(capsys, "remove", "hat", "--json")
    assert json.loads(printed.out)["removed"] == [
        {"name": "hat", "file": str(path.with_name("hat.safetensors")), "bundled_is_back": False}
    ]
    assert catalog.names(G) == ("warmth",)


def test_export(G, capsys, tmp_path):
    vector = torch.tensor([1.0, 0, 2.0, 0])
    catalog.save(G, Direction(name="tone", vector=vector, space="w", generator=G.spec.id, scores={"leakage": 0.5}))
    styles = {"L0": torch.ones(3), "L1": torch.zeros(2)}
    catalog.save(G, Direction(name="style", vector=styles, space="s", generator=G.spec.id))
    for name in ("tone.safetensors", "tone.npy", "tone.npz"):
        assert run(capsys, "export", "tone", "--out", tmp_path / name)[0] == 0
    assert Direction.load(tmp_path / "tone.safetensors").scores == {"leakage": 0.5}
    assert np.load(tmp_path / "tone.npy").tolist() == [1, 0, 2, 0]
    assert np.load(tmp_path / "tone.npz")["vector"].tolist() == [1, 0, 2, 0]
    assert run(capsys, "export", "style", "--out", tmp_path / "style.npz")[0] == 0
    assert sorted(np.load(tmp_path / "style.npz")) == ["L0", "L1"]
    code, printed = run(capsys, "export", "style", "--out", tmp_path / "style.npy")
    assert code == 2 and "write a .npz" in printed.err
    code, printed = run(capsys, "export", "tone", "--out", tmp_path / "tone.pkl")
    assert code == 2 and ".safetensors, .npy, .npz" in printed.err


def test_files_with_objects_or_of_another_generator(G, capsys, tmp_path):
    torch.save({"w": torch.ones(4)}, tmp_path / "pickled.safetensors")
    code, printed = run(capsys, "score", tmp_path / "pickled.safetensors")
    assert code == 1 and "not a readable safetensors file" in printed.err
    other = LinearGenerator(name="other")
    Direction(name="x", vector=torch.ones(4), space="w", generator=other.spec.id).save(tmp_path / "x.safetensors")
    code, printed = run(capsys, "score", tmp_path / "x.safetensors")
    assert code == 1 and other.spec.id[:12] in printed.err
    Direction(name="x", vector=torch.ones(5), space="w", generator=G.spec.id).save(tmp_path / "x.safetensors")
    code, printed = run(capsys, "export", tmp_path / "x.safetensors", "--out", tmp_path / "y.npy")
    assert code == 1 and "needs [4]" in printed.err


def test_build(G, capsys, tmp_path):
    options = ("--leakage", 0.9, "--labels", 200, "--out", tmp_path / "made", "--sheet", tmp_path / "sheets")
    code, printed = run(capsys, "build", *options, "--json")
    assert code == 0, printed.err
    made = json.loads(printed.out)
    names = [one["name"] for one in made["directions"]]
    assert names and set(names) <= {one.name for one in score.default_scorers(faces=False)}
    assert sorted(p.stem for p in (tmp_path / "sheets").iterdir()) == sorted(names)
    assert sorted(p.stem for p in (tmp_path / "made" / G.spec.id[:12]).iterdir()) == sorted(names)
    assert len(SampleBank.load(tmp_path / "made" / f"{G.spec.id[:12]}.bank.safetensors")) == 200


@pytest.mark.parametrize(
    "arguments",
    [
        ["dance"],
        ["find", "--method", "magic"],
        ["find", "--layers", "a"],
        ["find", "--layers", "4-"],
        ["find", "--method", "svm"],
        ["find", "--method", "svm", "--attribute", "charm"],
        ["find", "--method", "svm", "--attribute", "warmth", "--attribute", "contrast", "--name", "x"],
        ["show"],
        ["score"],
        ["export", "tone"],
    ],
)
def test_wrong_use(G, capsys, arguments):
    assert run(capsys, *arguments)[0] == 2


def test_the_help_page_names_every_scorer():
    assert sorted(find_cli.ATTRIBUTES) == sorted(attributes.built_in())


def test_layer_ranges():
    assert number_list("1-3,7") == (1, 2, 3, 7) and number_list("0") == (0,)
