"""Imports torchvision, and lpips that needs it, also where torchvision was built for another torch.

PyPI's torchvision is linked against CUDA. Beside a CPU build of torch its compiled operators do not load, and its
Python code then fails on registering a fake kernel for one of them: "operator torchvision::nms does not exist". The
models need none of those operators, so the two schemas that the import asks for are declared and the import is tried
again. ``torchvision.ops.nms`` itself stays unusable.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

from editkit.errors import MissingWeightsError

_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # a declaration lives as long as its Library object


def import_torchvision() -> ModuleType:
    """The torchvision package. Raises ImportError when it is not installed, RuntimeError when it fails otherwise."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _declared:
            raise
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]  # half-imported
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        library.define(f"{operator}{_SCHEMA}")
    _declared.append(library)
    return importlib.import_module("torchvision")


def import_lpips() -> ModuleType:
    """The lpips package. Raises MissingWeightsError, saying what to install, when it or torchvision does not import."""
    try:
        import_torchvision()
        return importlib.import_module("lpips")
    except (ImportError, RuntimeError) as error:
        raise MissingWeightsError(
            f"LPIPS cannot be used, its packages do not import ({error}): pip install lpips torchvision, with a "
            f"torchvision made for torch {torch.__version__}, or use the bundled distance."
        ) from error
