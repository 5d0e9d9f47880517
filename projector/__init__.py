"""Photo -> latent: find the codes of a generator that render a given picture.

    found = projector.project(G, face, projector.Optimise(steps=500))

A method is an object (``Auto``, ``Optimise``, ``Encode``, ``EncodeThenOptimise``, ``Refine``, ``Pivotal``), and the
result is one object that says why the search ended. Names are loaded on first use (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from editkit.lazy import lazy_names

if TYPE_CHECKING:
    from projector.auto import Auto
    from projector.clip import project_video
    from projector.clip_search import FrameByFrame
    from projector.drag_result import DragResult, DragStep, DragStop
    from projector.dragging import Drag, drag
    from projector.encode_then_optimise import EncodeThenOptimise
    from projector.encoder import Encode
    from projector.losses import Weights
    from projector.many import project_many
    from projector.noise_maps import NoiseMaps
    from projector.optimise import Optimise
    from projector.pivotal import Locality, Pivotal, tuned
    from projector.placement import Placement
    from projector.refine import Refine
    from projector.result import ProjectionResult, Step, Stop
    from projector.search import project

__all__ = [
    "Auto",
    "Drag",
    "DragResult",
    "DragStep",
    "DragStop",
    "Encode",
    "EncodeThenOptimise",
    "FrameByFrame",
    "Locality",
    "NoiseMaps",
    "Optimise",
    "Pivotal",
    "Placement",
    "ProjectionResult",
    "Refine",
    "Step",
    "Stop",
    "Weights",
    "drag",
    "project",
    "project_many",
    "project_video",
    "tuned",
]

_HOMES = {
    "Auto": "projector.auto",
    "Drag": "projector.dragging",
    "DragResult": "projector.drag_result",
    "DragStep": "projector.drag_result",
    "DragStop": "projector.drag_result",
    "FrameByFrame": "projector.clip_search",
    "drag": "projector.dragging",
    "Encode": "projector.encoder",
    "EncodeThenOptimise": "projector.encode_then_optimise",
    "Locality": "projector.pivotal",
    "NoiseMaps": "projector.noise_maps",
    "Optimise": "projector.optimise",
    "Pivotal": "projector.pivotal",
    "Placement": "projector.placement",
    "ProjectionResult": "projector.result",
    "Refine": "projector.refine",
    "Step": "projector.result",
    "Stop": "projector.result",
    "Weights": "projector.losses",
    "project": "projector.search",
    "project_many": "projector.many",
    "project_video": "projector.clip",
    "tuned": "projector.pivotal",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
