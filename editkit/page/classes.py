"""The class that a conditional generator draws, as a choice; hidden where the generator has none."""

from __future__ import annotations

from typing import Any

import gradio as gr

from editkit.generator import GeneratorSpec
from editkit.labels import class_names
from editkit.page.studio import Studio

ANY = "any"


def chooser(studio: Studio, any_of_them: str, **options: Any) -> gr.Dropdown:
    """A dropdown of the classes; ``any_of_them`` says in words what is done where none is chosen."""
    return gr.Dropdown(**_props(studio.G.spec, any_of_them), label="Class", **options)


def update(studio: Studio, any_of_them: str) -> Any:
    """The same for the generator that draws now."""
    return gr.update(**_props(studio.G.spec, any_of_them))


def chosen(value: str | None) -> int | None:
    """The index that was chosen, or None."""
    return int(value) if value and value != ANY else None


def _props(spec: GeneratorSpec, any_of_them: str) -> dict[str, Any]:
    names = class_names(spec) or [f"Class {index}" for index in range(spec.c_dim)]
    choices = [(any_of_them, ANY), *((name, str(index)) for index, name in enumerate(names))]
    return {
        "choices": choices,
        "value": ANY,
        "visible": spec.c_dim > 0 and not (spec.labels is not None and spec.labels.vectors),
    }
