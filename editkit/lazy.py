"""Public names that are loaded on first use (PEP 562), shared by the packages' ``__init__`` files."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package whose public names live in sub-modules.

    Args:
        package: ``__name__`` of the package.
        homes: public name -> full name of the module that defines it.

    Returns:
        Two functions to be assigned to ``__getattr__`` and ``__dir__`` at module level. A name outside ``homes`` raises
        AttributeError, as for any module.
    """

    def getattr_(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home), name)
        setattr(sys.modules[package], name, value)  # the next access does not come here
        return value

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return getattr_, dir_
