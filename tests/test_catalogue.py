"""The catalogue of published networks: its table, names, places, and what a loaded network learns from it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from editkit import cli
from editkit.checkpoints import catalogue
from editkit.checkpoints.header import ALIGNMENTS, KINDS
from editkit.errors import CheckpointError
from editkit.generator import load_generator

NAME = "stylegan3-t-ffhq-1024x1024"


def test_every_row_is_complete_and_possible() -> None:
    networks = catalogue.published()
    assert len(networks) >= 12 and len({network.name for network in networks}) == len(networks)
    assert len({network.url for network in networks}) == len(networks)
    for network in networks:
        address = urlsplit(network.url)
        assert address.scheme == "https" and address.path.endswith(".pkl") and not address.query
        assert network.kind in KINDS and network.alignment in ALIGNMENTS
        assert network.resolution & (network.resolution - 1) == 0 and 16 <= network.resolution <= 1024
        assert f"{network.resolution}x{network.resolution}" in network.name
        assert network.paper and network.documented and network.domain and network.classes >= 0
        assert network.sha256 is None or len(bytes.fromhex(network.sha256)) == 32
        assert network.licence is None or "icense" in network.licence
        # a name is also a file name and may not look like a path
        assert set(network.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_the_published_sets_are_there() -> None:
    names = {network.name for network in catalogue.published()}
    for letter in "tr":
        for data in ("ffhq-1024x1024", "ffhqu-256x256", "metfaces-1024x1024", "metfacesu-1024x1024", "afhqv2-512x512"):
            assert f"stylegan3-{letter}-{data}" in names
    assert {f"stylegan-xl-imagenet-{r}x{r}" for r in (16, 32, 64, 128, 256, 512, 1024)} <= names
    assert catalogue.get(NAME).alignment == "ffhq" and catalogue.get("stylegan3-r-afhqv2-512x512").alignment == "centre"
    conditional = {network.name for network in catalogue.published() if network.classes}
    assert {name for name in names if "imagenet" in name or "cifar10" in name} == conditional


def test_a_name_that_is_nearly_right_gets_a_hint() -> None:
    with pytest.raises(CheckpointError, match=r"did you mean .*stylegan3-t-ffhq-1024x1024.*editkit models list"):
        catalogue.get("stylegan3-t-ffhq-1024")
    with pytest.raises(CheckpointError, match=r"called 'zebra'; editkit models list"):
        catalogue.get("zebra")
    assert catalogue.find("zebra") is None
    with pytest.raises(
        CheckpointError, match=r"no generator 'stylegan3-t-ffhq'; did you mean .*bundled name \(faces64\)"
    ):
        load_generator("stylegan3-t-ffhq")


def test_a_network_that_is_not_here_is_never_downloaded_but_explained(home: Path, monkeypatch) -> None:
    monkeypatch.setattr("urllib.request.OpenerDirector.open", lambda *a, **k: pytest.fail("it was fetched"))
    with pytest.raises(CheckpointError) as caught:
        load_generator(NAME)
    message, network = str(caught.value), catalogue.get(NAME)
    for part in (network.url, str(home / "networks" / f"{NAME}.pkl"), f"editkit models download {NAME}"):
        assert part in message
    network.path.parent.mkdir(parents=True)
    network.path.write_bytes(b"")
    assert not network.at_hand
    assert cli.main(["project", "--generator", NAME, "--out", str(home / "out"), "--quiet"]) == 1


def test_a_network_of_the_cache_loads_by_its_name_with_its_facts(home: Path, monkeypatch, fixture_file) -> None:
    small = replace(catalogue.get(NAME), name="small-64x64", resolution=64, domain="blobs")
    monkeypatch.setattr(catalogue, "published", lambda: (small,))
    small.path.parent.mkdir(parents=True)
    shutil.copy(fixture_file("pickles/sg3r_64.pkl"), small.path)
    spec = load_generator("small-64x64").spec
    assert (spec.name, spec.domain, spec.alignment, spec.licence) == ("small-64x64", "blobs", "ffhq", small.licence)
    assert load_generator(small.path).spec == spec
    assert cli.main(["convert", str(small.path), "--out", str(home / "s.safetensors"), "--quiet"]) == 0
    native = load_generator(home / "s.safetensors").spec
    assert (native.domain, native.alignment, native.licence) == ("blobs", "ffhq", small.licence)
    assert cli.main(["convert", str(small.path), "--alignment", "centre", "--out", str(home / "c.safetensors")]) == 0
    assert load_generator(home / "c.safetensors").spec.alignment == "centre"
    other = shutil.copy(small.path, home / "other.pkl")
    assert load_generator(other).spec.alignment == "centre" and load_generator(other).spec.licence is None


@pytest.mark.parametrize("change", [{"resolution": 128}, {"kind": "stylegan2"}, {"classes": 10}])
def test_facts_go_with_a_name_only_where_the_network_fits(tmp_path, monkeypatch, fixture_file, change) -> None:
    row = replace(catalogue.get(NAME), **{"name": "small", "resolution": 64, **change})
    monkeypatch.setattr(catalogue, "published", lambda: (row,))
    spec = load_generator(shutil.copy(fixture_file("pickles/sg3r_64.pkl"), tmp_path / "small.pkl")).spec
    assert spec.alignment == "centre" and spec.licence is None


def test_a_super_resolution_head_has_the_labels_of_its_stem() -> None:
    name = "stylegan-xl-imagenet-256x256"
    head = {"img_resolution": 256, "head_layers": 7, "stem": {"img_resolution": 128, "c_dim": 1000}}
    assert catalogue.facts(f"{name}.pkl", "stylegan_xl", head)["domain"] == "ImageNet"
    assert catalogue.facts(f"{name}.pkl", "stylegan_xl", head | {"stem": {"c_dim": 10}}) == {}


def test_the_command_lists_shows_and_finds(home: Path, capsys) -> None:
    assert cli.main(["models"]) == 0
    assert NAME in capsys.readouterr().out
    assert cli.main(["models", "list", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["folder"] == str(home / "networks") and len(document["networks"]) == len(catalogue.published())
    assert cli.main(["models", "list", "--here"]) == 0
    assert "none is on this machine" in capsys.readouterr().out
    assert cli.main(["models", "show", NAME]) == 0
    text = capsys.readouterr().out
    network = catalogue.get(NAME)
    assert network.url in text and network.paper in text and str(network.licence) in text
    assert cli.main(["models", "path", NAME]) == 1
    assert capsys.readouterr().out.strip() == str(network.path)
    network.path.parent.mkdir(parents=True)
    network.path.write_bytes(b"weights")
    assert cli.main(["models", "path", NAME]) == 0
    capsys.readouterr()
    assert cli.main(["models", "list", "--here", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["networks"]] == [NAME]


@pytest.mark.parametrize("action", ["list", "show", "download", "path"])
def test_every_action_has_a_help_page_with_examples(action: str, capsys) -> None:
    assert cli.main(["models", action, "--help"]) == 0
    page = capsys.readouterr().out
    assert "examples:" in page and "--json" in page


def test_doctor_says_where_published_networks_are(home: Path, capsys) -> None:
    network = catalogue.get(NAME)
    network.path.parent.mkdir(parents=True)
    network.path.write_bytes(b"x" * 2**20)
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert f"published networks in {home / 'networks'}: 1 of" in text and f"1.0 MiB  {NAME}" in text
