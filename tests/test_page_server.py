"""The page as a server: what it gives to whom, what it refuses, what it leaves behind, and calls from programs."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gradio_client import Client, handle_file

from editkit import cli
from editkit.errors import OutputError
from editkit.generator import random_generator, save_generator
from editkit.page.options import Options
from editkit.page.server import Served, served
from editkit.photo import read_photo, sample_photo, write_image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITKIT_HOME", str(tmp_path_factory.mktemp("home")))
        with served(Options(port=0, device="cpu", steps=10, max_upload_mb=2)) as up:
            yield up


@pytest.fixture(scope="module")
def client(page: Served) -> Client:
    return Client(page.address, verbose=False)


@pytest.fixture(scope="module")
def me(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "me.jpg"
    write_image(path, sample_photo().image)
    return path


def fetch(address: str, **options: object) -> tuple[int, dict[str, str], str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, **options), timeout=30) as answer:  # type: ignore[arg-type]
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode()


def test_it_listens_on_this_machine_and_says_what_may_be_loaded(page: Served) -> None:
    assert page.address.startswith("http://127.0.0.1:")
    status, headers, text = fetch(page.address)
    assert status == 200 and "editkit" in text
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    assert not re.findall(r"""(?:src|href)=["']https?://(?!127\.0\.0\.1)[^"']+""", text)


@pytest.mark.parametrize(("host", "status"), [("localhost:7860", 200), ("127.0.0.1", 200), ("example.org", 403)])
def test_a_name_of_elsewhere_that_points_here_is_refused(page: Served, host: str, status: int) -> None:
    assert fetch(page.address, headers={"Host": host})[0] == status


@pytest.mark.parametrize(
    "path",
    [
        "file=/etc/passwd",
        "file=" + urllib.parse.quote(str(ROOT / "pyproject.toml")),
        "file=../../../../etc/passwd",
        "file=pyproject.toml",
        "file=http://127.0.0.1:1/x",
        "file=https://example.org/x",
        "proxy=https://example.org/x",
    ],
)
def test_no_path_of_the_server_and_no_address_is_read(page: Served, path: str) -> None:
    status, _, text = fetch(f"{page.address}gradio_api/{path}")
    assert status in (403, 404), text
    assert "root:" not in text and "[project]" not in text


def test_a_path_of_the_server_is_no_upload(page: Served) -> None:
    """Called over plain HTTP, since gradio_client would upload the file."""
    secret = ROOT / "docs" / "images" / "compare.png"
    assert secret.is_file()
    for path in (str(secret), str(page.studio.temporary / "examples" / "astronaut.png")):
        disguised = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = json.dumps({"data": [disguised, {}, 2, True]}).encode()
        kind = {"Content-Type": "application/json"}
        status, _, text = fetch(f"{page.address}gradio_api/call/edit", data=body, headers=kind)
        assert status == 200, text
        told = fetch(f"{page.address}gradio_api/call/edit/{json.loads(text)['event_id']}")[2]
        assert "event: error" in told and "event: complete" not in told


def test_an_upload_over_the_limit_is_refused(page: Served) -> None:
    body = (
        b"--x\r\nContent-Disposition: form-data; name=files; filename=big.jpg\r\n\r\n"
        + bytes(3_000_000)
        + b"\r\n--x--\r\n"
    )
    status, _, _ = fetch(
        f"{page.address}gradio_api/upload",
        data=body,
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert status == 413


def test_the_documented_example_runs(page: Served, me: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    text = (ROOT / "docs" / "page.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:7860/" in example
    monkeypatch.chdir(me.parent)
    names: dict[str, object] = {}
    exec(compile(example.replace("http://127.0.0.1:7860/", page.address), "docs/page.md", "exec"), names)
    from editkit.photo import read_photo

    assert read_photo(str(names["picture"])).size == (512, 512)
    report = names["report"]
    assert isinstance(report, dict) and report["psnr"] > 10 and report["stop"] == "max-steps" and "+" in report["edits"]


def test_what_is_wrong_is_said(client: Client, me: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no direction nonsense; there are: "):
        client.predict(handle_file(str(me)), {"nonsense": 1.0}, 5, True, api_name="/edit")
    text = tmp_path / "letter.jpg"
    text.write_text("no picture at all")
    with pytest.raises(Exception, match=r"letter\.jpg is not a picture") as caught:
        client.predict(handle_file(str(text)), {}, 5, True, api_name="/edit")
    assert str(tmp_path) not in str(caught.value) and "served" not in str(caught.value)
    with pytest.raises(Exception, match="steps is 1 to 1000"):
        client.predict(handle_file(str(me)), {}, 10**6, True, api_name="/edit")


def test_a_class_is_asked_for_by_name_or_index_where_there_are_some(client: Client, me: Path, tmp_path: Path) -> None:
    photo = handle_file(str(me))
    with pytest.raises(Exception, match="has no classes; leave class_name out"):
        client.predict(photo, {}, 5, True, class_name="cat", api_name="/edit")
    G = random_generator(resolution=32, c_dim=3, output_scale=0.8)
    G = G.with_weights(G.state_dict(), replace(G.spec, class_names=("cat", "dog", "owl")))
    save_generator(G, tmp_path / "three.safetensors")
    with served(Options(port=0, device="cpu", library=False, generator=str(tmp_path / "three.safetensors"))) as page:
        other = Client(page.address, verbose=False)
        by_name, report = other.predict(photo, {}, 2, False, class_name="Dog", api_name="/edit")
        by_index, again = other.predict(photo, {}, 2, False, class_name="1", api_name="/edit")
        cat, first = other.predict(photo, {}, 2, False, class_name="0", api_name="/edit")
        _, none = other.predict(photo, {}, 2, False, api_name="/edit")
        assert (report["class"], again["class"], first["class"]) == (1, 1, 0) and "class" not in none
        pictures = [read_photo(str(path)).image for path in (by_name, by_index, cat)]
        assert torch.equal(pictures[0], pictures[1]) and not torch.equal(pictures[0], pictures[2])
        for wrong, said in (("fox", "no class 'fox'; it has cat, dog, owl"), ("7", "classes 0 to 2")):
            with pytest.raises(Exception, match=said):
                other.predict(photo, {}, 2, False, class_name=wrong, api_name="/edit")


def test_only_what_is_documented_is_public(client: Client) -> None:
    known = client.view_api(return_format="dict", print_info=False)
    assert set(known["named_endpoints"]) == {"/directions", "/edit"}
    assert not known["unnamed_endpoints"]


def test_private_handlers_are_not_called_by_clients(client: Client, page: Served) -> None:
    config = json.loads(fetch(f"{page.address}config")[2])
    private = [one["id"] for one in config["dependencies"] if one.get("api_visibility") == "private"]
    assert len(private) > 20
    with pytest.raises(Exception):  # noqa: B017  # whatever the client calls it
        client.predict(fn_index=private[0])


def test_nothing_is_reported_to_anybody(page: Served) -> None:
    config = json.loads(fetch(f"{page.address}config")[2])
    assert config["analytics_enabled"] is False
    assert fetch(f"{page.address}monitoring")[0] >= 400 or "disabled" in fetch(f"{page.address}monitoring")[2]


def test_temporary_files_go_with_the_server_and_users_sign_in(me: Path) -> None:
    with served(Options(port=0, device="cpu", auth=(("ann", "one"), ("bob", "two")))) as page:
        folder = page.studio.temporary
        assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
        assert fetch(f"{page.address}config")[0] == 401
        assert fetch(f"{page.address}gradio_api/info")[0] == 401
        with pytest.raises(Exception):  # noqa: B017
            Client(page.address, auth=("ann", "wrong"), verbose=False)
        inside = Client(page.address, auth=("ann", "one"), verbose=False)
        picture, _ = inside.predict(handle_file(str(me)), {}, 2, False, api_name="/edit")
        assert Path(picture).is_file() and any(path.is_file() for path in folder.rglob("*"))
    assert not folder.exists()


def test_a_taken_port_is_named(page: Served) -> None:
    port = int(page.address.rstrip("/").rpartition(":")[2])
    with pytest.raises(OutputError, match=f"port {port}"), served(Options(port=port)):
        pass


def test_who_listens_everywhere_is_told_how_others_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from editkit.page import server

    monkeypatch.setattr(server, "serve", lambda options, on_ready: on_ready("http://localhost:7860/"))
    monkeypatch.setattr("socket.gethostname", lambda: "attic")
    assert cli.main(["app", "--host", "0.0.0.0", "--auth", "me:secret"]) == 0
    said = capsys.readouterr()
    assert "http://attic:7860/" in said.out + said.err
    assert cli.main(["app"]) == 0
    said = capsys.readouterr()
    assert "attic" not in said.out + said.err


def test_the_command_warns_of_an_open_door(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from editkit.page import server

    asked: list[Options] = []
    monkeypatch.setattr(server, "serve", lambda options, **_: asked.append(options))
    assert cli.main(["app"]) == 0 and not caplog.records
    assert cli.main(["app", "--host", "0.0.0.0"]) == 0 and "--auth" in caplog.text
    caplog.clear()
    assert cli.main(["app", "--root-path", "/editkit", "--auth", "me:secret"]) == 0 and not caplog.records
    assert cli.main(["app", "--root-path", "/editkit"]) == 0 and "nothing is kept" in caplog.text
    caplog.clear()
    assert cli.main(["app", "--share", "--auth", "me:secret"]) == 0 and "--share" in caplog.text
    assert [one.share for one in asked] == [False] * 4 + [True] and asked[4].auth == (("me", "secret"),)
    assert cli.main(["app", "--port", "99999"]) == 2
    assert cli.main(["app", "--auth", "nobody"]) == 2
