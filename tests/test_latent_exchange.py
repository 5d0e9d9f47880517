"""Latents of other programs: read as what they are, refused where they do not fit, written as others read them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from foreign_latents import PLUS, ROWS, G, W, save
from linear_generator import LinearGenerator
from torch import Tensor

import editkit
from editkit import cli
from editkit.errors import GeneratorMismatchError, LatentError, OutputError, UsageError
from editkit.generator import load_generator
from editkit.latent import Latent
from editkit.latent_arrays import read_arrays
from editkit.latent_exchange import export_latent, import_latent
from editkit.latent_file import read_latent, write_latent
from editkit.seeds import normal
from editkit.transform import Transform


@pytest.mark.parametrize(
    ("name", "content", "space", "codes"),
    [
        ("projected_w.npz", {"w": ROWS[:1]}, "w", ROWS[:1]),  # the official projector
        ("many.npz", {"w": PLUS}, "w+", PLUS),
        ("w.npy", W, "w", ROWS),
        ("one.npy", W[0], "w", ROWS[:1]),
        ("plus.npy", PLUS, "w+", PLUS),
        ("short.npy", W[:, None], "w", ROWS),  # [N, 1, w_dim]
        ("e4e.pt", PLUS, "w+", PLUS),
        ("e4e.pth", PLUS.double(), "w+", PLUS),
        ("pti.pt", {"w": ROWS[:1], "step": 7, "name": "me"}, "w", ROWS[:1]),
        ("state.pt", {"latents": PLUS, "labels": torch.zeros(2, dtype=torch.int64)}, "w+", PLUS),
        ("nested.pt", {"me": {"codes": [PLUS[:1], PLUS[1:]]}}, "w+", PLUS),
        ("list.pt", [PLUS[0], PLUS[1]], "w+", PLUS),
        ("rows.pt", [W[:1], W[1:]], "w", ROWS),
        ("flat.pt", [W[0], W[1]], "w", ROWS),
        ("parameter.pt", torch.nn.Parameter(PLUS), "w+", PLUS),
        ("z.npz", {"z": W}, "z", W),
        ("s.npz", {"s.a": W, "s.b": PLUS[:, 0]}, "s", {"a": W, "b": PLUS[:, 0]}),
    ],
)
def test_files_of_other_programs_are_read(tmp_path, name, content, space, codes) -> None:
    latent = import_latent(save(tmp_path / name, content), G.spec)
    assert (latent.space, latent.generator) == (space, G.spec.id)
    found, wanted = latent.codes, codes
    if isinstance(wanted, Tensor):
        found, wanted = {"": latent.tensor}, {"": wanted}
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert found[key].dtype == torch.float32 and torch.equal(found[key], tensor)


def test_the_space_is_the_callers_word(tmp_path) -> None:
    square = normal(7, (3, 4))  # three codes in w or z, or one in w+
    path = save(tmp_path / "codes.npy", square)
    assert import_latent(path, G.spec, space="z").tensor.shape == (3, 4)
    assert import_latent(path, G.spec, space="w").tensor.shape == (3, 3, 4)
    one = import_latent(path, G.spec, space="w+")
    assert one.space == "w+" and torch.equal(one.tensor[0], square)
    rows = save(tmp_path / "rows.npy", ROWS)
    assert import_latent(rows, G.spec, space="w+").space == "w+"
    with pytest.raises(LatentError, match=r"plus\.npy.*rows differ.*say space \"w\+\""):
        import_latent(save(tmp_path / "plus.npy", PLUS), G.spec, space="w")
    with pytest.raises(LatentError, match="one row is no code in w"):
        import_latent(save(tmp_path / "row.npy", W[0]), G.spec, space="w+")
    with pytest.raises(UsageError, match="unknown latent space 'x'"):
        import_latent(path, G.spec, space="x")  # type: ignore[arg-type]


def test_what_could_be_read_two_ways_is_said(tmp_path, caplog) -> None:
    import_latent(save(tmp_path / "two.npy", W), G.spec)
    assert not caplog.records
    import_latent(save(tmp_path / "three.npy", normal(7, (3, 4))), G.spec)
    assert 'read as 3 codes in w; if it is one code in w+, say so: space "w+"' in caplog.text


@pytest.mark.parametrize(
    ("content", "space", "message"),
    [
        (normal(1, (2, 5)), None, r"array \[2, 5\]: axis 1 \(w_dim\) is 5, 'linear' needs 4"),
        (normal(1, (2, 18, 4)), None, r"axis 1 \(num_ws\) is 18, 'linear' needs 3 \(z_dim 4, num_ws 3, w_dim 4\)"),
        (normal(1, (2, 3, 512)), None, r"axis 2 \(w_dim\) is 512, 'linear' needs 4"),
        (normal(1, (5, 4)), "w+", r"axis 0 \(num_ws\) is 5, 'linear' needs 3"),
        (normal(1, (2, 5)), "z", r"axis 1 \(z_dim\) is 5, 'linear' needs 4"),
        (normal(1, (2, 3, 4)), "z", r"3 axes; codes in z of 'linear' are \[N, 4\]"),
        (normal(1, (1, 2, 3, 4)), None, r"4 axes; codes of 'linear' are \[N, 4\] or \[N, 3, 4\]"),
        (normal(1, (2, 4)), "s", r"codes in s are arrays called s\.<layer>"),
        (torch.full((2, 4), float("nan")), None, "NaN or infinite"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_axis(tmp_path, content, space, message) -> None:
    with pytest.raises(LatentError, match=message) as caught:
        import_latent(save(tmp_path / "codes.npy", content), G.spec, space=space)
    assert "codes.npy" in str(caught.value)


def test_the_array_to_take(tmp_path) -> None:
    path = save(tmp_path / "a.npz", {"first": W, "second": PLUS})
    with pytest.raises(LatentError, match=r"which array are the codes\? It has first \[2, 4\], second \[2, 3, 4\]"):
        import_latent(path, G.spec)
    assert torch.equal(import_latent(path, G.spec, key="second").tensor, PLUS)
    with pytest.raises(LatentError, match="no array is called 'third'; it has first"):
        import_latent(path, G.spec, key="third")
    both = save(tmp_path / "b.npz", {"z": normal(9, (2, 4)), "w": W})
    assert torch.equal(import_latent(both, G.spec).tensor[:, 0], W)
    assert import_latent(both, G.spec, key="z").space == "z"


LATENTS = {
    "z": Latent(space="z", codes=W, generator=G.spec.id),
    "w": Latent(space="w", codes=ROWS, generator=G.spec.id),
    "w+": Latent(space="w+", codes=PLUS, generator=G.spec.id),
    "s": Latent(space="s", codes={"input": W, "L0": PLUS[:, 0]}, generator=G.spec.id),
}


@pytest.mark.parametrize("space", LATENTS)
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pt"])
def test_out_and_in_again_is_the_same(tmp_path, space, suffix) -> None:
    latent, path = LATENTS[space], tmp_path / f"codes{suffix}"
    if (space, suffix) == ("s", ".npy"):
        with pytest.raises(LatentError, match=r"\.npz or \.pt"):
            export_latent(latent, path)
        assert not path.exists()
        return
    export_latent(latent, path)
    again = import_latent(path, G.spec, space="z" if space == "z" else None)
    assert again.space == space and again.generator == latent.generator
    assert all(torch.equal(again.named_tensors()[name], codes) for name, codes in latent.named_tensors().items())


def test_the_official_layout(tmp_path) -> None:
    export_latent(LATENTS["w"][0], tmp_path / "projected_w.npz")
    with np.load(tmp_path / "projected_w.npz", allow_pickle=False) as archive:
        assert archive.files == ["w"]
        assert archive["w"].shape == (1, 3, 4) and archive["w"].dtype == np.float32
    export_latent(LATENTS["w+"], tmp_path / "w.pt")
    assert torch.equal(torch.load(tmp_path / "w.pt", weights_only=True), PLUS)


def test_exports_that_cannot_be_written(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"exported as \.npz, \.npy, \.pt, got 'codes\.txt'"):
        export_latent(LATENTS["w"], tmp_path / "codes.txt")
    with pytest.raises(OutputError):
        export_latent(LATENTS["w"], tmp_path / "nowhere" / "codes.npz")
    bad = Latent(space="w+", codes=torch.full((1, 3, 4), float("inf")), generator=G.spec.id)
    with pytest.raises(LatentError, match="infinite"):
        export_latent(bad, tmp_path / "codes.npz")
    assert not list(tmp_path.iterdir())


def test_a_latent_of_ours_keeps_its_generator(tmp_path) -> None:
    path = tmp_path / "own.safetensors"
    write_latent(path, LATENTS["w+"], transform=Transform.rotate(10))
    assert torch.equal(import_latent(path, G.spec).tensor, PLUS)
    with pytest.raises(LatentError, match=r"holds codes in w\+, not in z"):
        import_latent(path, G.spec, space="z")
    with pytest.raises(GeneratorMismatchError):
        import_latent(path, LinearGenerator(name="other").spec)


def test_the_command_brings_in_and_sends_out(tmp_path, capsys) -> None:
    spec = load_generator(device="cpu").spec
    codes = normal(3, (1, spec.num_ws, spec.w_dim))
    foreign = save(tmp_path / "projected_w.npz", {"w": codes})
    ours, back = tmp_path / "me.safetensors", tmp_path / "back.npz"
    assert cli.main(["latent", "import", str(foreign), "--out", str(ours)]) == 0
    assert f"1 code in w+, [1, {spec.num_ws}, {spec.w_dim}], for {spec.name}" in capsys.readouterr().out
    held = read_latent(ours)
    assert held.latent.generator == spec.id and torch.equal(held.latent.tensor, codes)
    write_latent(ours, held.latent, transform=Transform.identity())
    assert cli.main(["latent", "export", str(ours), "--out", str(back), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["not_kept"] == ["transform"]
    assert torch.equal(read_arrays(back)["w"], codes)
    for file, words in ((ours, spec.id), (back, f"[1, {spec.num_ws}, {spec.w_dim}]")):
        assert cli.main(["latent", "show", str(file)]) == 0
        assert words in capsys.readouterr().out
        assert cli.main(["latent", "show", str(file), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["arrays"]["w"]["equal_rows"] is False


def test_the_command_fails_in_one_line(tmp_path, capsys) -> None:
    wrong = str(save(tmp_path / "wrong.npy", normal(1, (2, 5))))
    assert cli.main(["latent", "import", wrong, "--out", str(tmp_path / "o.safetensors")]) == 1
    assert "axis 1 (w_dim) is 5" in capsys.readouterr().err
    assert cli.main(["latent", "import", wrong, "--out", str(tmp_path / "o.npz")]) == 2
    assert cli.main(["latent"]) == 2
    assert cli.main(["latent", "show", str(tmp_path / "none.pt")]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"wrong.npy"}


@pytest.mark.parametrize("action", ["import", "export", "show"])
def test_every_action_has_a_help_page_with_examples(action: str, capsys) -> None:
    assert cli.main(["latent", action, "--help"]) == 0
    assert "examples:" in capsys.readouterr().out


def test_public_names() -> None:
    assert editkit.import_latent is import_latent and editkit.export_latent is export_latent
