"""Augmentation of what the discriminator sees, real and generated, so that it does not learn small data sets by heart.

Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", section 2 and appendix B:
all categories, in its order: pixel blitting, geometry, colour, filtering, corruption. Every
transformation of a sample happens with probability ``strength`` times its multiplier. With strength 0 the resampling
still runs and gives the picture back to about 1e-6. The strength is adapted in ``train.adaptive``.

Convention: images are [N, C, H, W] in [-1, 1], C of 1, 3 or more (further channels take part in all but colour).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from editkit.errors import UsageError
from train.augment_bands import corrupt, filter_bands
from train.augment_colour import colour_matrices, transform_colours
from train.augment_geometry import place, placement_matrices
from train.streams import Source

CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "blit": ("xflip", "rotate90", "xint"),
    "geom": ("scale", "rotate", "aniso", "xfrac"),
    "color": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
    "filter": ("imgfilter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
}
_COMBINED: Mapping[str, tuple[str, ...]] = {
    "bg": ("blit", "geom"),
    "bgc": ("blit", "geom", "color"),
    "bgcf": ("blit", "geom", "color", "filter"),
    "bgcfn": ("blit", "geom", "color", "filter", "noise"),
    "bgcfnc": ("blit", "geom", "color", "filter", "noise", "cutout"),
}
PRESETS = ("none", *CATEGORIES, *_COMBINED)


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentOptions:
    """Multipliers of the strength (0 switches a transformation off) and the ranges of its parameter (appendix B).

    Attributes:
        xflip, rotate90, xint: mirrored, turned by quarters, moved by whole pixels up to ``xint_max`` of the size.
        scale, rotate, aniso, xfrac: log2-normal of ``scale_std``; turned up to ``rotate_max`` of half a turn, before
            and after ``aniso``, a stretch, log2-normal of ``aniso_std``; moved, normal of ``xfrac_std`` of the size.
        brightness: added, normal of ``brightness_std``; contrast: factor, log2-normal of ``contrast_std``; lumaflip:
            the luma axis mirrored; hue: turned about it by up to ``hue_max`` of half a turn; saturation: log2-normal of
            ``saturation_std``.
        imgfilter: each of four octaves amplified, log2-normal of ``imgfilter_std``; ``imgfilter_bands``: multipliers of
            the octaves, coarsest first.
        noise: of a deviation that is half-normal of ``noise_std``; cutout: a grey box of ``cutout_size`` of the sides.
    """

    xflip: float = 0.0
    rotate90: float = 0.0
    xint: float = 0.0
    xint_max: float = 0.125
    scale: float = 0.0
    rotate: float = 0.0
    aniso: float = 0.0
    xfrac: float = 0.0
    scale_std: float = 0.2
    rotate_max: float = 1.0
    aniso_std: float = 0.2
    xfrac_std: float = 0.125
    brightness: float = 0.0
    contrast: float = 0.0
    lumaflip: float = 0.0
    hue: float = 0.0
    saturation: float = 0.0
    brightness_std: float = 0.2
    contrast_std: float = 0.5
    hue_max: float = 1.0
    saturation_std: float = 1.0
    imgfilter: float = 0.0
    imgfilter_bands: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
    imgfilter_std: float = 1.0
    noise: float = 0.0
    cutout: float = 0.0
    noise_std: float = 0.1
    cutout_size: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "imgfilter_bands", tuple(float(band) for band in self.imgfilter_bands))
        for field in fields(self):
            value = getattr(self, field.name)
            for number in value if field.name == "imgfilter_bands" else (value,):
                if not 0 <= number < float("inf"):
                    raise UsageError(f"augmentation option {field.name} is a number from 0 up, got {number!r}")
        if len(self.imgfilter_bands) != 4:
            raise UsageError(f"imgfilter_bands are four multipliers, got {self.imgfilter_bands}")


def preset(name: str) -> AugmentOptions:
    """The options of a published combination: "blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc",
    "bgcf", "bgcfn", "bgcfnc", or "none". The paper's choice is "bgc". Raises UsageError for another name."""
    if name not in PRESETS:
        raise UsageError(f"no augmentation is called {name!r}; there are {', '.join(PRESETS)}")
    chosen = _COMBINED.get(name, (name,) if name in CATEGORIES else ())
    switched_on: dict[str, Any] = {option: 1.0 for category in chosen for option in CATEGORIES[category]}
    return AugmentOptions(**switched_on)


class Augment:
    """The pipeline. Differentiable in the images, twice, which the gradient penalties need.

    Args:
        options: what happens; ``preset("bgc")`` is what the paper recommends.
    """

    def __init__(self, options: AugmentOptions) -> None:
        self.options = options

    def __call__(self, images: Tensor, *, strength: float, source: Source) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] to augmented ones of the same shape.

        Args:
            strength: the probability p of the paper, 0 to 1.
            source: of random numbers, see ``train.streams``; draws for N samples.

        Raises:
            UsageError: the shape or the strength is out of range.
        """
        if images.ndim != 4 or not images.is_floating_point() or images.shape[1] == 2 or min(images.shape[2:]) < 2:
            raise UsageError(
                "augmentation takes floating images [N, C, H, W] of 1, 3 or more channels and 2 pixels a side or more, "
                f"got {images.dtype} {tuple(images.shape)}"
            )
        if not 0 <= strength <= 1:
            raise UsageError(f"the strength of augmentation is 0 to 1, got {strength}")
        o = self.options
        placement = placement_matrices(o, images.shape, strength=strength, source=source)
        if placement is not None:
            images = place(images, placement)
        colours = colour_matrices(o, images.shape, strength=strength, source=source)
        if colours is not None:
            images = transform_colours(images, colours)
        if o.imgfilter > 0:
            images = filter_bands(images, o, strength=strength, source=source)
        return corrupt(images, o, strength=strength, source=source)
