"""Proved from the syntax trees: no file is executed or unpickled, nothing moves to a GPU by itself."""

from __future__ import annotations

import ast

import pytest
from source_trees import ROOT, SOURCES, imported_modules, tree_of


def called_name(node: ast.Call) -> str:
    return ast.unparse(node.func)


def test_nothing_is_moved_to_a_gpu_behind_the_callers_back() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda"
    ]
    assert not found, "call .to(device) instead of .cuda():\n" + "\n".join(found)


def execution_of_data(tree: ast.Module) -> list[str]:
    """Calls that could execute what a file says, and imports that make them possible."""
    forbidden_names = {"eval", "exec", "compile", "os.system", "os.popen"}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in imported_modules(node, "", is_package=False):
                if name.split(".")[0] in {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal"}:
                    found.append(f"line {node.lineno}: imports {name}")
        if not isinstance(node, ast.Call):
            continue
        called = called_name(node)
        last = called.rsplit(".", 1)[-1]
        if called in forbidden_names:
            found.append(f"line {node.lineno}: {called}()")
        if last in {"Unpickler"} or called.endswith(("pickle.load", "pickle.loads", "np.load", "numpy.load")):
            allow = next((k.value for k in node.keywords if k.arg == "allow_pickle"), None)
            if "load" not in last or "pickle" in called or (allow and ast.unparse(allow) != "False"):
                found.append(f"line {node.lineno}: {called}()")
        if called == "torch.load":
            safe = next((ast.unparse(k.value) for k in node.keywords if k.arg == "weights_only"), "missing")
            if safe != "True":
                found.append(f"line {node.lineno}: torch.load(weights_only={safe})")
        if any(k.arg == "shell" and ast.unparse(k.value) == "True" for k in node.keywords):
            found.append(f"line {node.lineno}: {called}(shell=True)")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import Unpickler",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_the_execution_check_sees_what_it_should(source: str) -> None:
    assert execution_of_data(ast.parse(source))


def test_safe_loading_passes_the_execution_check() -> None:
    assert not execution_of_data(
        ast.parse("torch.load(p, weights_only=True); np.load(p); model.eval(); re.compile('a')")
    )


def test_no_file_is_ever_executed_or_unpickled() -> None:
    found = [f"{path.relative_to(ROOT)} {line}" for path in SOURCES for line in execution_of_data(tree_of(path))]
    assert not found, "\n".join(found)
