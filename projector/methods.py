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
NAMES = ("auto", "w", "w+", "s", "encode", "encode+optimise", "pivotal")


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
    name: str,
    G: Generator,
    *,
    steps: int | None = None,
    budget: float | None = None,
    encoder: str | None = None,
    classes: Classes | None = None,
    placement: bool = False,
    noise_maps: bool = False,
    locality: bool = False,
    mixed_precision: bool = False,
) -> Method:
    """A method of ``NAMES`` for ``G``.

    "auto" is ``projector.Auto``: by what was measured, the best there is within the budget that leaves edits room. The
    others come as near to the photo as they can.

    Args:
        steps: of the search, and of the tuning; by default what the method uses, and with a budget as many as there is
            time for.
        budget: seconds for a photo; pivotal tuning takes half of them, the search for its pivot the other half.
        encoder: file of ``editkit train encoder``; the bundled one by default.
        placement: whether the picture's placement is sought as well.
        noise_maps: whether those of a StyleGAN2 are fitted too; then "auto" is a search in W+.
        locality: whether pivotal tuning holds the generator still elsewhere (``projector.Locality``).
        mixed_precision: of the search; on an NVIDIA GPU only.

    Raises:
        UsageError: an unknown name, or steps, a budget or an encoder that the method has no use for.
    """
    from projector.auto import Auto, check_encoder
    from projector.encode_then_optimise import EncodeThenOptimise
    from projector.encoder import Encode
    from projector.noise_maps import NoiseMaps, map_sizes
    from projector.optimise import Optimise
    from projector.pivotal import Locality, Pivotal
    from projector.placement import Placement
    from projector.precision import check_precision

    if name not in NAMES:
        raise UsageError(f"no method is called {name!r}; there are {', '.join(NAMES)}")
    check_precision(G.device, mixed_precision)
    if locality and name != "pivotal":
        raise UsageError(f"--method {name} tunes nothing that locality could hold; take pivotal")
    if noise_maps:
        map_sizes(G)
    extras: dict[str, Any] = {"noise_maps": noise_maps, "mixed_precision": mixed_precision}
    searched = STEPS_WITHIN_BUDGET if steps is None and budget is not None else steps
    if name == "pivotal":
        half = None if budget is None else budget / 2
        extras |= {"encoder": encoder, "classes": classes, "placement": placement}
        inner = method_named("auto", G, steps=steps, budget=half, **extras)
        steps = Pivotal().steps if searched is None else searched
        return Pivotal(inner=inner, steps=steps, budget=half, locality=Locality() if locality else None)
    if name == "auto":
        check_encoder(encoder, classes)
        return Auto(
            steps=steps,
            budget=budget,
            encoder=encoder,
            placement=Placement() if placement else None,
            noise_maps=NoiseMaps() if noise_maps else None,
            mixed_precision=mixed_precision,
        )
    if name in ("w", "w+", "s"):
        if encoder is not None:
            raise UsageError(f"--method {name} takes no encoder; leave --encoder out, or take encode+optimise")
        length = Optimise().steps if searched is None else searched
        return Optimise(
            space=name,  # type: ignore[arg-type]  # checked above
            steps=length,
            budget=budget,
            placement=Placement() if placement else None,
            noise_maps=NoiseMaps() if noise_maps else None,
            mixed_precision=mixed_precision,
        )
    if placement or noise_maps:
        what = "seek a placement" if placement else "fit noise maps"
        raise UsageError(f"--method {name} does not {what}; take w, w+, s or pivotal")
    if name == "encode":
        if steps is not None or budget is not None or mixed_precision:
            raise UsageError(
                "--method encode does not search: leave --steps, --budget and --mixed-precision out, or take "
                "encode+optimise"
            )
        return Encode(encoder=encoder)
    length = EncodeThenOptimise().steps if searched is None else searched
    return EncodeThenOptimise(steps=length, budget=budget, encoder=encoder, mixed_precision=mixed_precision)
