"""Downloads: whole or not at all, from servers that cut, lie, keep silent or send something else."""

from __future__ import annotations

import errno
import hashlib
import json
import socket
import threading
import urllib.request
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
from broken_server import PAYLOAD, Plan, serve

from editkit import cli
from editkit.checkpoints import catalogue, fetch
from editkit.checkpoints.download import download
from editkit.checkpoints.fetch import Source
from editkit.errors import CheckpointError, OutputError, UsageError

RIGHT = hashlib.sha256(PAYLOAD).hexdigest()
NAME = "stylegan3-t-ffhqu-256x256"


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the machine between the tests and their server."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def get(url: str, target: Path, *, sha256: str | None = RIGHT, retries: int = 2, timeout: float = 5.0, **more) -> Path:
    source = Source(url=url, sha256=sha256, hint=f"put it there: {target}")
    return fetch.fetch(source, target, retries=retries, timeout=timeout, pause=0.0, **more)


def left_over(folder: Path) -> set[str]:
    """What lies there, the lock aside."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_a_file_arrives_whole_with_its_progress(tmp_path: Path) -> None:
    target, steps = tmp_path / "deep" / "net.pkl", []
    with serve(Plan()) as url:
        assert get(url, target, on_progress=lambda done, total: steps.append((done, total))) == target
    assert target.read_bytes() == PAYLOAD
    assert left_over(target.parent) == {"net.pkl"}
    assert steps == sorted(steps) and steps[-1] == (len(PAYLOAD), len(PAYLOAD))


def test_a_cut_connection_goes_on_where_it_ended(tmp_path: Path) -> None:
    plan = Plan(cuts=[100_000, 200_000, 50_000])
    with serve(plan) as url:
        get(url, tmp_path / "net.pkl", retries=0)  # each attempt came further, so none counts as failed
    assert (tmp_path / "net.pkl").read_bytes() == PAYLOAD
    assert plan.seen == [None, "bytes=100000-", "bytes=300000-", "bytes=350000-"]


def test_a_later_run_goes_on_too(tmp_path: Path) -> None:
    plan = Plan(cuts=[100_000], statuses=[])
    with serve(plan) as url:

        def interrupt(done: int, total: int | None) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            get(url, tmp_path / "net.pkl", on_progress=interrupt)
        assert left_over(tmp_path) == {".net.pkl.part", ".net.pkl.part.json"}
        begun = (tmp_path / ".net.pkl.part").stat().st_size
        assert 0 < begun < len(PAYLOAD)
        get(url, tmp_path / "net.pkl")
    assert plan.seen == [None, f"bytes={begun}-"]
    assert (tmp_path / "net.pkl").read_bytes() == PAYLOAD and left_over(tmp_path) == {"net.pkl"}


def test_what_came_of_another_version_or_address_is_not_used(tmp_path: Path) -> None:
    part, note = tmp_path / ".net.pkl.part", tmp_path / ".net.pkl.part.json"
    for url_of, version in ((lambda url: url, '"older"'), (lambda url: "http://elsewhere/net.pkl", '"first"')):
        with serve(Plan()) as url:
            part.write_bytes(b"\x80\x04 of another file")
            note.write_text(json.dumps({"url": url_of(url), "version": version}))
            get(url, tmp_path / "net.pkl")
        assert (tmp_path / "net.pkl").read_bytes() == PAYLOAD
        (tmp_path / "net.pkl").unlink()
    for damage in ("", "[]", '{"url": 3}', "{"):
        part.write_bytes(b"\x80\x04 of another file")
        note.write_text(damage)
        with serve(Plan()) as url:
            get(url, tmp_path / "net.pkl")
        assert (tmp_path / "net.pkl").read_bytes() == PAYLOAD
        (tmp_path / "net.pkl").unlink()


@pytest.mark.parametrize("change", [{"ranges": False}, {"etag": None}, {"etag": 'W/"weak"'}, {"shift": 7}])
def test_a_server_that_cannot_go_on_is_asked_for_all_of_it(tmp_path: Path, change: dict) -> None:
    plan = replace(Plan(cuts=[100_000]), **change)
    with serve(plan) as url:
        get(url, tmp_path / "net.pkl")
    assert (tmp_path / "net.pkl").read_bytes() == PAYLOAD and left_over(tmp_path) == {"net.pkl"}


def test_a_server_that_always_cuts_is_given_up(tmp_path: Path) -> None:
    plan = Plan(cuts=[1000] * 50, etag=None)
    with serve(plan) as url:
        with pytest.raises(CheckpointError, match=r"cut after 1,000 of 512,002 bytes.*put it there: .*net\.pkl"):
            get(url, tmp_path / "net.pkl", retries=3)
    assert len(plan.seen) == 5  # the first came further than nothing
    assert "net.pkl" not in left_over(tmp_path)


def test_a_passing_fault_of_the_server_is_waited_out(tmp_path: Path) -> None:
    with serve(Plan(statuses=[503, 429])) as url:
        get(url, tmp_path / "net.pkl")
    assert (tmp_path / "net.pkl").read_bytes() == PAYLOAD


def test_a_part_longer_than_the_file_is_dropped(tmp_path: Path) -> None:
    with serve(Plan()) as url:
        (tmp_path / ".net.pkl.part").write_bytes(PAYLOAD + b"more")
        (tmp_path / ".net.pkl.part.json").write_text(json.dumps({"url": url, "version": '"first"'}))
        get(url, tmp_path / "net.pkl")
    assert (tmp_path / "net.pkl").read_bytes() == PAYLOAD


def test_a_wrong_file_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    with serve(Plan(body=PAYLOAD[:-1] + b"!")) as url:
        with pytest.raises(CheckpointError, match=rf"its sha256 is [0-9a-f]{{64}}, {RIGHT} is needed"):
            get(url, tmp_path / "net.pkl")
    assert left_over(tmp_path) == set()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!DOCTYPE html><html>quota exceeded</html>", "a web page"),
        (b"\x89PNG\r\n\x1a\n....", "a PNG picture"),
        (b"PK\x03\x04........", "a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
    ],
)
def test_what_is_no_pickle_is_refused_at_its_first_bytes(tmp_path: Path, body: bytes, words: str) -> None:
    plan = Plan(body=body + b" " * 5_000_000)
    steps = []
    with serve(plan) as url:
        with pytest.raises(CheckpointError, match=f"{words}.*not a pickle"):
            get(url, tmp_path / "net.pkl", sha256=None, on_progress=lambda *step: steps.append(step))
    assert left_over(tmp_path) == set() and not steps and len(plan.seen) == 1


@pytest.mark.parametrize("body", [b"", b"\x80"])
def test_an_empty_file_is_refused(tmp_path: Path, body: bytes) -> None:
    with serve(Plan(body=body)) as url, pytest.raises(CheckpointError, match=r"\d bytes came"):
        get(url, tmp_path / "net.pkl", sha256=None)
    assert left_over(tmp_path) == set()


def test_not_found_is_said_at_once(tmp_path: Path) -> None:
    plan = Plan(statuses=[404, 404])
    with serve(plan) as url:
        with pytest.raises(CheckpointError, match=r"answered 404 Not Found\. put it there"):
            get(url, tmp_path / "net.pkl")
    assert len(plan.seen) == 1 and left_over(tmp_path) == set()


def test_silence_ends(tmp_path: Path) -> None:
    with serve(Plan(silent=True)) as url:
        with pytest.raises(CheckpointError, match=r"no data for 0\.2 s|timed out"):
            get(url, tmp_path / "net.pkl", timeout=0.2, retries=1)
    assert left_over(tmp_path) == set()


def test_a_server_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(Plan()) as url:
        pass
    with pytest.raises(CheckpointError, match=r"127\.0\.0\.1 cannot be reached"):
        get(url, tmp_path / "net.pkl", retries=1)

    def no_network(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(CheckpointError, match=r"example\.invalid cannot be reached.*put it there"):
        fetch.fetch(Source(url="http://example.invalid/n.pkl", hint="put it there"), tmp_path / "n.pkl", pause=9.0)


def test_redirects_lead_to_http_only(tmp_path: Path) -> None:
    with serve(Plan()) as inner, serve(Plan(location=inner)) as url:
        get(url, tmp_path / "net.pkl")
    assert (tmp_path / "net.pkl").read_bytes() == PAYLOAD
    (tmp_path / "secret.pkl").write_bytes(PAYLOAD)
    for location in (f"file://{tmp_path}/secret.pkl", "ftp://127.0.0.1/net.pkl"):
        with serve(Plan(location=location)) as url, pytest.raises(CheckpointError, match=r"not followed|302"):
            get(url, tmp_path / "other.pkl")
    assert not (tmp_path / "other.pkl").exists()
    guard, request = fetch._Redirects(), urllib.request.Request("https://a.example/net.pkl")
    with pytest.raises(CheckpointError, match="only https"):
        guard.redirect_request(request, None, 302, "Found", {}, "http://a.example/net.pkl")
    assert guard.redirect_request(request, None, 302, "Found", {}, "https://b.example/net.pkl") is not None


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/n.pkl", "data:,x", "n.pkl"])
def test_other_kinds_of_address_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(CheckpointError, match=r"not an http\(s\) address"):
        get(url, tmp_path / "net.pkl")


def test_a_full_disk_is_said_with_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    with serve(Plan()) as url:
        monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: usage(1, 1, 1000))
        with pytest.raises(OutputError, match=r"no space left \(0\.5 MB are needed, 0\.0 MB are free\)"):
            get(url, tmp_path / "net.pkl")
        monkeypatch.undo()

        class Full:
            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def write(self, data: bytes) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(fetch, "_opened", lambda part: Full())
        with pytest.raises(OutputError, match="No space left on device; free some space"):
            get(url, tmp_path / "net.pkl")
    assert left_over(tmp_path) == set()


def test_two_at_once_fetch_once(tmp_path: Path) -> None:
    plan, results = Plan(cuts=[100_000]), []
    with serve(plan) as url:
        threads = [threading.Thread(target=lambda: results.append(get(url, tmp_path / "net.pkl"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [tmp_path / "net.pkl"] * 4
    assert (tmp_path / "net.pkl").read_bytes() == PAYLOAD and left_over(tmp_path) == {"net.pkl"}
    assert plan.seen == [None, "bytes=100000-"]


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> catalogue.PublishedNetwork:
    monkeypatch.setenv("EDITKIT_HOME", str(tmp_path))
    return catalogue.get(NAME)


def test_only_https_addresses_of_the_catalogue_are_fetched(network: catalogue.PublishedNetwork) -> None:
    with pytest.raises(CheckpointError, match="is not https"):
        download(replace(network, url="http://127.0.0.1/net.pkl"))
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        download(network, sha256="abc")
    assert not network.path.parent.exists()


def test_the_command_downloads_and_says_what_it_kept(network, monkeypatch, capsys) -> None:
    plan = Plan(cuts=[100_000])
    with serve(plan) as url:
        fetched = []

        def redirected(source: Source, target: Path, **options) -> Path:
            fetched.append(source)
            return fetch.fetch(replace(source, url=url), target, pause=0.0, **options)

        monkeypatch.setattr("editkit.checkpoints.download.fetch", redirected)
        assert cli.main(["models", "download", NAME, "--sha256", RIGHT, "--json"]) == 0
        (one,) = json.loads(capsys.readouterr().out)["networks"]
        assert one["path"] == str(network.path) and one["at_hand"] and one["found_sha256"] == RIGHT
        assert fetched[0].url == network.url and str(network.path) in fetched[0].hint
        assert cli.main(["models", "download", NAME]) == 0  # there already
        assert f"{NAME} is {network.path} (0.5 MB), sha256 {RIGHT}" in capsys.readouterr().out
        assert cli.main(["models", "download", NAME, "--sha256", "0" * 64]) == 1  # there, but another file
        assert "remove it" in capsys.readouterr().err
    assert len(plan.seen) == 2
    assert network.path.read_bytes() == PAYLOAD


def test_wrong_use_of_the_command(network, capsys) -> None:
    assert cli.main(["models", "download", NAME, "stylegan3-t-ffhq-1024x1024", "--sha256", RIGHT]) == 2
    assert cli.main(["models", "download", NAME, "--timeout", "0"]) == 2
    assert cli.main(["models", "download", "stylegan3-t-fhq"]) == 1
    assert "did you mean stylegan3-t-ffhq" in capsys.readouterr().err
