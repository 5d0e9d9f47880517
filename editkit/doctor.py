"""`editkit doctor`: what this machine has, and what is missing.

Nothing is downloaded or changed. Each operation backend is run once against the reference, so that a broken one is seen
here rather than in a picture.
"""

from __future__ import annotations

import argparse
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from editkit import __version__
from editkit.command import Output, add_command

PACKAGES = (
    "torch", "torchvision", "numpy", "pillow", "safetensors", "scikit-image", "scikit-learn", "numba", "tqdm", "lpips",
    "face-alignment", "gradio", "av", "pillow-heif", "onnx", "onnxruntime",
)  # fmt: skip
OPTIONAL_PACKAGES = {
    "pillow-heif": "HEIC photos", "numba": "the fast CPU backend", "onnx": "ONNX export", "onnxruntime": "ONNX export",
}  # fmt: skip
BUNDLED = ("landmarks.safetensors", "features.safetensors", "encoder64.safetensors")
MODELS = Path(__file__).resolve().parent / "models"
DIRECTIONS = Path(__file__).resolve().parents[1] / "directions" / "bundled"  # a path, so that no import runs upwards
BACKEND_TOLERANCE = 1e-4
MIB = 2**20


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = add_command(
        subparsers,
        "doctor",
        "show device, backends, memory, and which weights are at hand",
        description="Show what this machine has: versions, device, backends, memory, bundled and optional weights, and "
        "where\nmissing weights go. Downloads and changes nothing. Exits 1 if something that editkit needs is missing.",
        examples=[
            ("editkit doctor", "a report to read, or to paste into a bug report"),
            ("editkit doctor --json", "the same for a program"),
        ],
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    report = examine()
    with Output(args) as output:
        for key, value in report.items():
            output.put(key, value)
        output.say(as_text(report))
    return 1 if report["problems"] else 0


def examine() -> dict[str, Any]:
    """Everything that the report says, as plain values; ``problems`` lists what keeps editkit from working."""
    problems: list[str] = []
    packages = {name: _version(name) for name in PACKAGES}
    device = _device(problems)
    packages["torch"] = device["torch"] or packages["torch"]  # with its build, which PyPI's metadata leaves out
    missing = [name for name, version in packages.items() if version is None and name not in OPTIONAL_PACKAGES]
    if missing:
        problems.append(f"not installed: {', '.join(missing)}; run: python -m pip install {' '.join(missing)}")
    return {
        "editkit": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": packages,
        "device": device,
        "backends": _backends(problems),
        "memory": _memory(),
        "bundled": _bundled(problems),
        "optional": _optional(),
        "published": _published(),
        "problems": problems,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _device(problems: list[str]) -> dict[str, Any]:
    try:
        import torch

        from editkit.device import resolve_device
    except ImportError as error:
        problems.append(f"torch cannot be imported: {error}")
        return {"torch": None, "auto": None, "cuda": [], "mps": False, "cores": os.cpu_count(), "threads": None}
    cuda = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return {
        "torch": torch.__version__,
        "auto": str(resolve_device("auto")),
        "cuda": [torch.cuda.get_device_name(index) for index in cuda],
        "cuda_build": torch.version.cuda,
        "mps": torch.backends.mps.is_available(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _backends(problems: list[str]) -> dict[str, Any]:
    """The default backend, and for each the largest error of one small filtered_lrelu against the reference."""
    try:
        from editkit.ops.backends import BACKENDS, current_backend

        default = current_backend()
        reference = _filtered(BACKENDS[-1] if "reference" not in BACKENDS else "reference")
        errors = {name: float((_filtered(name) - reference).abs().max()) for name in BACKENDS}
    except Exception as error:  # a broken backend is what is looked for here: reported, never raised
        problems.append(f"the operations do not run: {type(error).__name__}: {error}")
        return {"default": None, "errors": {}}
    for name, worst in errors.items():
        if not worst < BACKEND_TOLERANCE:
            problems.append(f"backend {name!r} is wrong by {worst:.2g}; set EDITKIT_BACKEND=reference and report it")
    return {"default": default, "errors": errors}


def _filtered(backend: str) -> Any:
    import torch

    from editkit.ops.backends import use_backend
    from editkit.ops.filtered_lrelu import filtered_lrelu

    x = torch.randn([1, 4, 24, 24], generator=torch.Generator().manual_seed(0))
    taps = torch.hann_window(14, periodic=False)[1:-1]
    taps = taps / taps.sum()
    with use_backend(backend):
        return filtered_lrelu(x, taps, taps, torch.zeros(4), up=2, down=2, padding=[11, 10, 11, 10])


def _memory() -> dict[str, Any]:
    from editkit.memory import free_memory

    return {"free_bytes": free_memory()}


def _bundled(problems: list[str]) -> list[dict[str, Any]]:
    files = {path.name: path for path in sorted(MODELS.glob("*.safetensors"))}
    files |= {name: MODELS / name for name in BUNDLED if name not in files}
    found = []
    for path in [*files.values(), *sorted(DIRECTIONS.rglob("*.safetensors"))]:
        entry: dict[str, Any] = {"file": path.name, "path": path, "at_hand": path.is_file()}
        if not path.is_file():
            problems.append(f"bundled weights are missing: {path}; reinstall editkit")
            found.append(entry)
            continue
        try:
            entry |= _describe(path)
        except (OSError, ValueError) as error:
            problems.append(f"bundled weights {path} cannot be read ({error}); reinstall editkit")
        found.append(entry)
    if len(files) <= len(BUNDLED):
        problems.append(f"no bundled generator in {MODELS}; reinstall editkit")
    return found


def _describe(path: Path) -> dict[str, Any]:
    """Size and our own header of a safetensors file: 8 bytes little-endian length, then JSON."""
    import json

    size = path.stat().st_size
    with path.open("rb") as file:
        header = json.loads(file.read(min(size, int.from_bytes(file.read(8), "little"))))
    ours = json.loads(header.get("__metadata__", {}).get("editkit", "{}"))
    facts = {key: ours[key] for key in ("kind", "name", "id", "licence") if ours.get(key)}
    return {"bytes": size, **facts}


def _optional() -> list[dict[str, Any]]:
    from editkit import optional_weights

    return [
        {
            "file": one.file, "package": one.package, "purpose": one.purpose, "path": one.path,
            "at_hand": one.at_hand, "url": one.url,
        }
        for one in optional_weights.ALL
    ]  # fmt: skip


def _published() -> dict[str, Any]:
    """Where published networks are kept, and those that are there."""
    from editkit.checkpoints.catalogue import cache_folder, published

    networks = published()
    at_hand = [
        {"name": one.name, "path": one.path, "bytes": one.path.stat().st_size, "licence": one.licence}
        for one in networks
        if one.at_hand
    ]
    return {"folder": cache_folder(), "known": len(networks), "at_hand": at_hand}


def as_text(report: dict[str, Any]) -> str:
    """The report for people."""
    device, memory, backends = report["device"], report["memory"], report["backends"]
    lines = [
        f"editkit {report['editkit']}, Python {report['python']}, {report['system']}",
        f"device     {device['auto']} ({device['cores']} cores, {device['threads']} threads; "
        f"GPU: {', '.join(device['cuda']) or ('Apple' if device['mps'] else 'none')})",
        f"memory     {memory['free_bytes'] / MIB / 1024:.1f} GiB free",
        f"backends   {backends['default']} by default; largest error against the reference: "
        + ", ".join(f"{name} {worst:.1g}" for name, worst in backends["errors"].items()),
        "packages   " + ", ".join(f"{name} {version}" for name, version in report["packages"].items() if version),
    ]
    lines += [
        f"           without {name}: no {OPTIONAL_PACKAGES[name]}"
        for name, version in report["packages"].items()
        if version is None and name in OPTIONAL_PACKAGES
    ]
    lines.append("bundled weights")
    for one in report["bundled"]:
        what = " ".join(dict.fromkeys(str(one[key]) for key in ("kind", "name") if key in one))
        size = _size(one["bytes"]) if "bytes" in one else "missing".rjust(10)
        lines.append(f"  {size}  {one['file']}  {what}".rstrip())
    lines.append("optional weights (never downloaded by editkit)")
    for one in report["optional"]:
        lines.append(
            f"  {'at hand' if one['at_hand'] else 'missing'}  {one['purpose']} ({one['package']}): {one['path']}"
        )
        if not one["at_hand"]:
            lines.append(f"           from {one['url']}")
    published = report["published"]
    lines.append(f"published networks in {published['folder']}: {len(published['at_hand'])} of {published['known']}")
    lines += [f"  {_size(one['bytes'])}  {one['name']}" for one in published["at_hand"]]
    if not published["at_hand"]:
        lines.append("  editkit models lists them, editkit models download NAME fetches one")
    lines += [f"PROBLEM: {problem}" for problem in report["problems"]] or ["everything that editkit needs is here"]
    return "\n".join(lines)


def _size(count: int) -> str:
    """Bytes in ten characters: a direction has a few kB, a network many MiB."""
    return f"{count / MIB:6.1f} MiB" if count >= MIB else f"{count / 1000:7.1f} kB"
