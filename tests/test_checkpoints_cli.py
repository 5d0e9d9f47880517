"""``editkit convert`` and ``editkit info``: what they write and print, and how they exit."""

import json
import shutil

import pytest

from editkit.checkpoints import read_header
from editkit.cli import main


def run(*arguments: object) -> int:
    """Exit code of the command."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)


@pytest.fixture
def pickle(tmp_path, fixture_file):
    return shutil.copy(fixture_file("pickles/sg3r_64.pkl"), tmp_path / "r.pkl")


def test_convert_then_info(pickle, tmp_path, capsys):
    assert run("convert", pickle, "--domain", "faces") == 0
    text = capsys.readouterr().out
    assert "stylegan3, 64x64" in text and "alignment: centre, a guess" in text and "licence: unknown" in text
    header = read_header(tmp_path / "r.safetensors")
    assert header["domain"] == "faces" and header["alignment"] == "centre"

    assert run("info", tmp_path / "r.safetensors", "--json") == 0
    assert json.loads(capsys.readouterr().out)["header"] == header
    assert run("info", tmp_path / "r.safetensors") == 0
    assert header["id"] in capsys.readouterr().out


def test_convert_options(pickle, tmp_path, capsys):
    out = tmp_path / "d.safetensors"
    assert run("convert", pickle, "--out", out, "--network", "D", "--name", "judge", "--licence", "CC0", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["header"] == read_header(out)
    assert (document["header"]["kind"], document["header"]["name"]) == ("discriminator", "judge")
    assert run("convert", pickle, "--half", "--alignment", "ffhq", "--quiet") == 0
    assert capsys.readouterr().out == ""
    assert read_header(tmp_path / "r.safetensors")["parent_id"]


def test_info_on_a_pickle(pickle, capsys):
    assert run("info", pickle) == 0
    text = capsys.readouterr().out
    assert "G_ema, G, D" in text and "use_radial_filters = True" in text
    assert run("info", pickle, "--json") == 0
    networks = json.loads(capsys.readouterr().out)["networks"]
    assert networks["G_ema"]["arguments"]["img_resolution"] == 64
    assert networks["D"]["kind"] == "discriminator" and networks["G"]["facts"]["augment_p"] == 0.375


def test_failures_are_one_line_and_an_exit_code(tmp_path, fixture_file, capsys):
    missing, hostile = tmp_path / "none.pkl", fixture_file("pickles/bad_dotted_global.pkl")
    for arguments, code, words in [
        (("convert", missing), 1, "does not exist"),
        (("info", missing), 1, "does not exist"),
        (("info", hostile), 1, "os.system"),
        (("convert", hostile, "--out", tmp_path / "o.safetensors"), 1, "os.system"),
        (("info", fixture_file("pickles/bad_text.pkl")), 1, "a web page"),
        (("convert", hostile, "--alignment", "face"), 2, "invalid choice"),
    ]:
        assert run(*arguments) == code
        printed = capsys.readouterr()
        assert words in printed.err and "Traceback" not in printed.err and printed.out == ""
        assert code == 2 or printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_text_from_a_file_cannot_drive_the_terminal(tmp_path, capsys):
    import torch

    from editkit.checkpoints import write_checkpoint

    path = tmp_path / "a.safetensors"
    write_checkpoint(path, {"x": torch.zeros(1)}, {"kind": "features", "name": "\x1b[2Jevil\n" + "x" * 500})
    assert run("info", path) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_convert_and_info_on_other_families(tmp_path, fixture_file, capsys):
    source = shutil.copy(fixture_file("pickles/sgxl_superres_64.pkl"), tmp_path / "xl.pkl")
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\ncat\n\ndog\nemu\nfox\n")
    assert run("info", source) == 0
    assert "stylegan_xl, 64x64" in capsys.readouterr().out
    assert run("convert", source, "--class-names", names) == 0
    assert read_header(tmp_path / "xl.safetensors")["class_names"] == ["ant", "bee", "cat", "dog", "emu", "fox"]
    capsys.readouterr()
    assert run("info", tmp_path / "xl.safetensors") == 0
    assert "ant, bee, cat, dog, emu, fox" in capsys.readouterr().out
    names.write_text("ant\n")
    assert run("convert", source, "--class-names", names) == 2
    assert "has 6 classes, 1 names are given" in capsys.readouterr().err
    assert run("convert", source, "--class-names", tmp_path / "none.txt") == 2
    assert "cannot read the names" in capsys.readouterr().err
