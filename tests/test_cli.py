"""The `editkit` command itself: help, exit codes, output, errors. What each sub-command does is tested elsewhere."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from editkit import __version__, cli
from editkit.command import Output, add_command
from editkit.errors import CheckpointError, UsageError

ROOT = Path(__file__).resolve().parents[1]


def install(monkeypatch: pytest.MonkeyPatch, run: Callable[[argparse.Namespace], int]) -> None:
    """Make `editkit try` the only command, doing what `run` says."""

    def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        parser = add_command(subparsers, "try", "try something", examples=[("editkit try --times 2", "try it twice")])
        parser.add_argument("--times", type=int, default=1)
        parser.set_defaults(run=run)

    module = type(sys)("try_command")
    module.register = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "try_command", module)
    monkeypatch.setattr(cli, "commands", lambda: {"try": "try_command:register"})


def fail_with(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


def test_every_declared_command_is_at_hand_and_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    names = list(cli.commands())
    assert {"project", "directions", "train", "convert", "doctor"} <= set(names)
    assert cli.main(["--help"]) == 0
    page = capsys.readouterr().out
    assert "not available" not in page
    for name in names:
        assert cli.main([name, "--help"]) == 0, name
        help_page = capsys.readouterr().out
        assert f"usage: editkit {name}" in help_page
        assert "examples:" in help_page, f"editkit {name} --help shows no examples"
        assert "--json" in help_page, f"editkit {name} lacks --json"
        assert "--quiet" in help_page, f"editkit {name} lacks --quiet"


@pytest.mark.parametrize("name", list(cli.commands()))
def test_a_misspelt_option_is_wrong_use(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--no-such-option"]) == 2
    assert "usage: editkit" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"editkit {__version__}"


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["--no-such-option"]])
def test_wrong_use_exits_2_and_prints_to_standard_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: editkit" in err


def test_success_returns_what_the_command_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, lambda args: 0 if args.times == 3 else 1)
    assert cli.main(["try", "--times", "3"]) == 0
    assert cli.main(["try"]) == 1


@pytest.mark.parametrize(("error", "code"), [(UsageError("bad\n value"), 2), (CheckpointError("damaged"), 1)])
def test_an_editkit_error_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    install(monkeypatch, fail_with(error))
    assert cli.main(["try"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"editkit: error: {' '.join(str(error).split())}\n"


def test_an_unexpected_error_is_one_line_and_verbose_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, fail_with(ZeroDivisionError("division by zero")))
    assert cli.main(["try"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "ZeroDivisionError: division by zero" in err and "--verbose" in err
    assert cli.main(["try", "--verbose"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and "fail_with" not in err.splitlines()[-1]


def test_an_error_with_json_is_a_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    install(monkeypatch, fail_with(CheckpointError("damaged")))
    assert cli.main(["try", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document == {"error": {"type": "CheckpointError", "message": "damaged"}, "exit_code": 1}


def test_ctrl_c_exits_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    install(monkeypatch, fail_with(KeyboardInterrupt()))
    assert cli.main(["try"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_command_that_cannot_be_imported_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, lambda args: 0)
    monkeypatch.setattr(cli, "commands", lambda: {"broken": "no_such_module:register", "try": "try_command:register"})
    assert cli.main(["try"]) == 0
    assert cli.main(["--help"]) == 0
    page = capsys.readouterr().out
    assert "not available" in page and "try something" in page
    assert cli.main(["broken", "--out", "x"]) == 1
    assert "no_such_module" in capsys.readouterr().err


def test_output_for_people(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: argparse.Namespace) -> int:
        with Output(args) as output:
            output.say("31.2 dB")
            output.put("psnr", 31.2)
        logging.getLogger("editkit.somewhere").info("for the log")
        return 0

    install(monkeypatch, run)
    assert cli.main(["try"]) == 0
    out, err = capsys.readouterr()
    assert out == "31.2 dB\n"
    assert err == "editkit.somewhere: for the log\n"
    assert cli.main(["try", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_progress_in_a_log_is_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> int:
        now = iter([0.0, 10.0, 1.0, 61.0, 1.0, 90.0, 1.0, 125.0])  # a counter is made and told something, four times
        monkeypatch.setattr("editkit.command.time", types.SimpleNamespace(monotonic=lambda: next(now, 1000.0)))
        with Output(args) as output:
            for done in range(1, 5):
                output.counter("photograph")(done, 9)
        return 0

    install(monkeypatch, run)
    assert cli.main(["try"]) == 0
    assert capsys.readouterr().err == "photograph 2/9\nphotograph 4/9\n"
    for option in ("--quiet", "--json"):
        assert cli.main(["try", option]) == 0
        assert capsys.readouterr().err == ""


def test_output_for_programs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: argparse.Namespace) -> int:
        with Output(args) as output:
            output.say("not seen")
            output.put("file", Path("a") / "b.png")
            output.put("numbers", np.array([[1.5, math.nan], [math.inf, 2.0]], dtype=np.float32))
            output.put("steps", (1, None, True, "ü"))
        return 0

    install(monkeypatch, run)
    assert cli.main(["try", "--json", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "file": os.path.join("a", "b.png"),
        "numbers": [[1.5, None], [None, 2.0]],
        "steps": [1, None, True, "ü"],
    }


def test_no_document_when_the_command_fails_in_the_middle(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> int:
        with Output(args) as output:
            output.put("half", 1)
            raise CheckpointError("damaged")

    install(monkeypatch, run)
    assert cli.main(["try", "--json"]) == 1
    assert "half" not in json.loads(capsys.readouterr().out)


def editkit(*arguments: str, module: str = "editkit", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def test_help_answers_at_once() -> None:
    editkit("--help")  # compiles the byte code
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert editkit("--help").returncode == 0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0


@pytest.mark.parametrize(
    ("module", "command"), [("projector", "project"), ("directions", "directions"), ("train", "train")]
)
def test_each_package_runs_as_a_module(module: str, command: str) -> None:
    done = editkit("--help", module=module)
    assert done.returncode == 0, done.stderr
    assert f"usage: editkit {command}" in done.stdout


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    """As in `editkit ... | head -1`."""
    script = """
import sys, types
from editkit import cli
from editkit.command import add_command

def run(args):
    for line in range(100_000):
        print(line)
    return 0

module = types.ModuleType("talkative")
module.register = lambda subparsers: add_command(subparsers, "talk", "talk").set_defaults(run=run)
sys.modules["talkative"] = module
cli.commands = lambda: {"talk": "talkative:register"}
raise SystemExit(cli.main(["talk"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 1


def test_commands_of_an_uninstalled_checkout_are_those_of_pyproject() -> None:
    import tomllib

    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert cli.commands() == table["editkit.commands"]
