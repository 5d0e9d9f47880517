"""What a method is, and the methods by the names that people give them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from editkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from editkit.generator import Generator
    from editkit.labels import Classes
    from editkit.perceptual import PerceptualDistance
    from projector.driving import Found, OnStep

STEPS_WITHIN_BUDGET = 100_000
"""With a budget the time ends the search, not the steps."""
NAMES = ("auto", "w", "w+", "pivotal")


class Method(Protocol):
    """What ``projector.project`` asks of a method; a frozen dataclass of its settings."""

    @property
    def name(self) -> str:
        """For reports."""
        ...

    def find(
        self,
        G: Generator,
        targets: Tensor,
        *,
        perceptual: PerceptualDistance,
        seed: int = 0,
        classes: Classes | None = None,
        on_step: OnStep | None = None,
    ) -> Found:
        """Codes for ``targets`` [N, 3, R, R] in [-1, 1]; see ``projector.optimise.search``."""
        ...


def settings_of(method: Method) -> dict[str, Any]:
    """Its settings as plain values; those of a method within it are named."""
    settings: dict[str, Any] = asdict(method)  # type: ignore[call-overload]  # a method is a dataclass
    inner = getattr(method, "inner", None)
    return settings if inner is None else settings | {"inner": {"name": inner.name, **settings_of(inner)}}


def method_named(
    name: str, *, steps: int | None = None, budget: float | None = None, placement: bool = False
) -> Method:
    """A method of ``NAMES``. "auto" is a search in W+.

    Args:
        steps: of the search, and of the tuning; by default what the method uses, and with a budget as many as there
            is time for.
        budget: seconds for a photo; pivotal tuning takes half of them, the search for its pivot the other half.
        placement: whether the picture's placement is sought as well.

    Raises UsageError: an unknown name.
    """
    from projector.optimise import Optimise
    from projector.pivotal import Pivotal
    from projector.placement import Placement

    if name not in NAMES:
        raise UsageError(f"no method is called {name!r}; there are {', '.join(NAMES)}")
    searched = STEPS_WITHIN_BUDGET if steps is None and budget is not None else steps
    placed = Placement() if placement else None
    length = Optimise().steps if searched is None else searched
    if name == "pivotal":
        half = None if budget is None else budget / 2
        tuning = Pivotal().steps if searched is None else searched
        return Pivotal(inner=Optimise(steps=length, budget=half, placement=placed), steps=tuning, budget=half)
    return Optimise(space="w" if name == "w" else "w+", steps=length, budget=budget, placement=placed)
