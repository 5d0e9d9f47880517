"""Photo -> latent: find the codes of a generator that render a given picture.

    found = projector.project(G, face, projector.Optimise(steps=500))

A method is an object (``Optimise``, ``Pivotal``), and the result is one object that says why the search ended. Names
are loaded on first use (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from editkit.lazy import lazy_names

if TYPE_CHECKING:
    from projector.drag_result import DragResult, DragStep, DragStop
    from projector.dragging import Drag, drag
    from projector.optimise import Optimise
    from projector.pivotal import Locality, Pivotal, tuned
    from projector.placement import Placement
    from projector.result import ProjectionResult, Step, Stop
    from projector.search import project

__all__ = [
    "Drag",
    "DragResult",
    "DragStep",
    "DragStop",
    "Locality",
    "Optimise",
    "Pivotal",
    "Placement",
    "ProjectionResult",
    "Step",
    "Stop",
    "drag",
    "project",
    "tuned",
]

_HOMES = {
    "Drag": "projector.dragging",
    "DragResult": "projector.drag_result",
    "DragStep": "projector.drag_result",
    "DragStop": "projector.drag_result",
    "drag": "projector.dragging",
    "Locality": "projector.pivotal",
    "Optimise": "projector.optimise",
    "Pivotal": "projector.pivotal",
    "Placement": "projector.placement",
    "ProjectionResult": "projector.result",
    "Step": "projector.result",
    "Stop": "projector.result",
    "project": "projector.search",
    "tuned": "projector.pivotal",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
