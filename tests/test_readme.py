"""The README keeps its promises: its Python runs, its commands parse, CI runs its commands, its links lead on."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT, blocks, editkit_commands, shell_lines

from editkit import cli

README = (ROOT / "README.md").read_text(encoding="utf-8")


def documented_commands() -> tuple[str, str]:
    """The two commands that are complete on a fresh clone: the main job, and the tests."""
    complete = [line for line in shell_lines(README) if line.startswith("python3 -m venv .venv && ")]
    main_job = [line for line in complete if "editkit project" in line]
    tests = [line for line in complete if "pytest" in line]
    assert len(main_job) == len(tests) == 1
    return main_job[0], tests[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "code", [pytest.param(code, id=f"block{i}") for i, code in enumerate(blocks(README, "python"))]
)
def test_python_blocks_run(code: str, tmp_path: Path) -> None:
    import skimage.data  # its pictures ship in the wheel
    from PIL import Image

    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "me.jpg", quality=95)
    script = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(re.findall(r"'psnr': ([\d.]+)", done.stdout)[-1]) > 22, "a face that is somebody else's"
    for name in re.findall(r'write_image\("([^"]+)"', code):
        with Image.open(tmp_path / name) as picture:
            picture.verify()


def test_there_is_python_to_run() -> None:
    assert blocks(README, "python")


@pytest.mark.parametrize("arguments", [pytest.param(words, id=" ".join(words)) for words in editkit_commands(README)])
def test_commands_parse(arguments: list[str]) -> None:
    parser = cli.build_parser()
    try:
        parser.parse_args(arguments)
    except SystemExit as stop:  # argparse ends itself after --help with 0, on wrong use with 2
        assert stop.code == 0, f"editkit {shlex.join(arguments)} does not parse"


def test_options_in_the_table_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["project", "--help"]) == 0
    page = capsys.readouterr().out
    table = README.partition("| option | meaning |")[2].partition("\n\n")[0]
    options = re.findall(r"`[^`]*?(--[a-z-]+)", table)
    assert len(options) > 5
    missing = [option for option in options if not re.search(rf"{option}\b", page)]
    assert not missing, f"in the README but not in `editkit project --help`: {missing}"


def test_every_command_is_mentioned() -> None:
    mentioned = {arguments[0] for arguments in editkit_commands(README) if arguments} | set(
        re.findall(r"`editkit ([a-z]+)", README)
    )
    assert set(cli.commands()) <= mentioned


def test_the_two_commands_stand_alone() -> None:
    for line in documented_commands():
        assert line.count("\n") == 0
        assert line.startswith("python3 -m venv .venv && .venv/bin/python -m pip install ")
    main_job, tests = documented_commands()
    assert main_job.endswith(".venv/bin/editkit project --out out")
    assert tests.endswith(".venv/bin/python -m pytest -q")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_ci_runs_the_commands_of_the_readme() -> None:
    """.ci/run takes them from the README itself: `--print-commands` shows what it would run."""
    done = subprocess.run(
        ["bash", str(ROOT / ".ci" / "run"), "--print-commands"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert tuple(done.stdout.splitlines()) == documented_commands()


def test_links_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", README, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (ROOT / target.partition("#")[0]).exists(), target
