"""What about a data set hurts a StyleGAN3, from the measures of its pictures.

Karras et al. 2021 ("Alias-Free Generative Adversarial Networks") remove what lets texture stick to the pixels from the
network; what sticks in the data - frames, block edges, the staircase of point sampling - is learned all the same.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from train.dataset_measures import Measures
from train.dataset_pixels import Crop, sizes_text

FEWEST = 1_000
BAR_WIDTH, BAR_SHARE = 0.02, 0.02
QUALITY, BLOCKS, COMPRESSED_SHARE = 75.0, 1.4, 0.05
REDUCED = 0.5  # enlarged less than this: blocks of the file are gone
ENLARGED, FALL_MOST, REPEATED, ENLARGED_SHARE = 1.1, 24.0, 0.3, 0.1
FALL_LEAST, POINT_SHARE = 6.5, 0.1
SIZE_RATIO = 4.0
ASPECT_FACTOR, ASPECT_SHARE = 1.25, 0.05
GREY_LOW, GREY_HIGH = 0.01, 0.99


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One warning."""

    code: str
    text: str  # what was found, with the measured value
    advice: str  # what to do
    measured: float
    threshold: float
    examples: tuple[str, ...] = ()  # names of pictures


def find_warnings(names: Sequence[str], measures: Sequence[Measures], *, crop: Crop, channels: int) -> list[Finding]:
    """The warnings that ``measures`` of the pictures ``names``, cut by ``crop`` into ``channels``, give rise to."""
    if not measures:
        return []
    found = [
        _too_few(len(measures)),
        _wide_bars(crop),
        _letterboxes(names, measures),
        _compressed(names, measures),
        _enlarged(names, measures),
        _point_sampled(names, measures),
        _mixed_sizes(measures, crop),
        _mixed_aspects(names, measures),
        _grey(names, measures, channels),
    ]
    return [finding for finding in found if finding is not None]


def _share(
    names: Sequence[str],
    measures: Sequence[Measures],
    is_bad: Callable[[Measures], bool],
    threshold: float,
) -> tuple[float, tuple[str, ...]] | None:
    """The share of pictures that are bad and some of their names, where it is above the threshold."""
    bad = [name for name, one in zip(names, measures) if is_bad(one)]
    share = len(bad) / len(measures)
    return (share, tuple(bad[:8])) if share > threshold else None


def _too_few(count: int) -> Finding | None:
    if count >= FEWEST:
        return None
    return Finding(
        code="too-few",
        text=f"{count} pictures",
        advice="add more, mirror them (x-flips), start from a trained network and use adaptive augmentation "
        "(Karras et al. 2020); below a thousand the discriminator soon knows them by heart",
        measured=count,
        threshold=FEWEST,
    )


def _wide_bars(crop: Crop) -> Finding | None:
    if crop.kind != "wide":
        return None
    share = 1 - crop.aspect[1] / crop.aspect[0]
    return Finding(
        code="wide-bars",
        text=f"the wide crop fills {share:.0%} of each picture with bars",
        advice="fine for StyleGAN2; StyleGAN3 learns the bars' edges as fixed detail: prefer the centre crop",
        measured=share,
        threshold=0.0,
    )


def _letterboxes(names: Sequence[str], measures: Sequence[Measures]) -> Finding | None:
    found = _share(names, measures, lambda one: one.bars >= BAR_WIDTH, BAR_SHARE)
    return found and Finding(
        code="letterbox",
        text=f"{found[0]:.1%} of the pictures have bars of one colour at opposite edges",
        advice="cut the bars off before building: a frame that never moves is learned as detail that never moves",
        measured=found[0],
        threshold=BAR_SHARE,
        examples=found[1],
    )


def _compressed(names: Sequence[str], measures: Sequence[Measures]) -> Finding | None:
    def is_bad(one: Measures) -> bool:
        return one.enlarged > REDUCED and (one.jpeg_quality < QUALITY or one.blockiness > BLOCKS)

    found = _share(names, measures, is_bad, COMPRESSED_SHARE)
    if found is None:
        return None
    qualities = [one.jpeg_quality for one in measures if math.isfinite(one.jpeg_quality)]
    blocks = [one.blockiness for one in measures if math.isfinite(one.blockiness)]
    details = [f"median JPEG quality {np.median(qualities):.0f}"] if qualities else []
    details += [f"median blockiness {np.median(blocks):.2f}, none is 1"] if blocks else []
    return Finding(
        code="compressed",
        text=f"{found[0]:.1%} of the pictures show strong compression ({'; '.join(details)}): JPEG quality below "
        f"{QUALITY:.0f} or blockiness above {BLOCKS}",
        advice="use the originals, or a resolution at most half of the pictures' own: the grid of 8 x 8 blocks is "
        "fixed to the pixels, and so becomes what the network draws",
        measured=found[0],
        threshold=COMPRESSED_SHARE,
        examples=found[1],
    )


def _enlarged(names: Sequence[str], measures: Sequence[Measures]) -> Finding | None:
    def is_bad(one: Measures) -> bool:
        return one.enlarged > ENLARGED or one.fall > FALL_MOST or one.repeated > REPEATED

    found = _share(names, measures, is_bad, ENLARGED_SHARE)
    if found is None:
        return None
    falls = [one.fall for one in measures if math.isfinite(one.fall)]
    median = f"; the median spectrum falls by {np.median(falls):.1f} dB" if falls else ""
    return Finding(
        code="upscaled",
        text=f"{found[0]:.1%} of the pictures are smaller than they look: enlarged by more than {ENLARGED} here, or "
        f"with a spectrum that falls by more than {FALL_MOST:.0f} dB towards the finest detail, or with repeated "
        f"lines{median}",
        advice="build at a lower resolution, or leave small pictures out (--min-side): there is no fine detail to "
        "learn, and what an enlargement leaves at the pixels is learned instead",
        measured=found[0],
        threshold=ENLARGED_SHARE,
        examples=found[1],
    )


def _point_sampled(names: Sequence[str], measures: Sequence[Measures]) -> Finding | None:
    found = _share(
        names, measures, lambda one: one.fall < FALL_LEAST and one.repeated <= REPEATED, POINT_SHARE
    )  # nan compares false
    return found and Finding(
        code="point-sampled",
        text=f"{found[0]:.1%} of the pictures have a spectrum that falls by less than {FALL_LEAST} dB towards the "
        "finest detail: reduced without a low-pass filter, or sharpened",
        advice="reduce the originals with a low-pass filter (this tool's Lanczos) and without sharpening: aliasing in "
        "the data is aliasing in the pictures made",
        measured=found[0],
        threshold=POINT_SHARE,
        examples=found[1],
    )


def _mixed_sizes(measures: Sequence[Measures], crop: Crop) -> Finding | None:
    if crop.resolution is None:
        sizes = Counter(one.size for one in measures)
        if len(sizes) == 1:
            return None
        return Finding(
            code="mixed-sizes",
            text=f"{len(sizes)} sizes: {sizes_text(sizes)}",
            advice="build a data set of one size with `editkit dataset build --resolution`",
            measured=len(sizes),
            threshold=1,
        )
    sides = [crop.resolution / one.enlarged for one in measures]
    low, high = np.percentile(sides, [5, 95])
    ratio = float(high / low)
    if ratio <= SIZE_RATIO:
        return None
    return Finding(
        code="mixed-sizes",
        text=f"what was cut out is from {low:.0f} to {high:.0f} pixels wide (5th and 95th percentile), "
        f"{ratio:.1f} times",
        advice="leave small pictures out (--min-side): sharp and soft pictures side by side teach both",
        measured=ratio,
        threshold=SIZE_RATIO,
    )


def _mixed_aspects(names: Sequence[str], measures: Sequence[Measures]) -> Finding | None:
    middle = float(np.median([math.log(one.size[0] / one.size[1]) for one in measures]))
    limit = math.log(ASPECT_FACTOR)
    found = _share(names, measures, lambda one: abs(math.log(one.size[0] / one.size[1]) - middle) > limit, ASPECT_SHARE)
    return found and Finding(
        code="mixed-aspects",
        text=f"{found[0]:.1%} of the pictures are wider or higher than the median ({math.exp(middle):.2f} : 1) by more "
        f"than a factor of {ASPECT_FACTOR}",
        advice="look at the contact sheet: the centre crop cuts portraits and landscapes differently",
        measured=found[0],
        threshold=ASPECT_SHARE,
        examples=found[1],
    )


def _grey(names: Sequence[str], measures: Sequence[Measures], channels: int) -> Finding | None:
    grey = [name for name, one in zip(names, measures) if one.is_grey]
    share = len(grey) / len(measures)
    if channels == 1 or share <= GREY_LOW:
        return None
    if share < GREY_HIGH:
        return Finding(
            code="grey-among-colour",
            text=f"{share:.1%} of the pictures are grey, the others are not",
            advice="leave the grey ones out, or make all grey with --channels 1",
            measured=share,
            threshold=GREY_LOW,
            examples=tuple(grey[:8]),
        )
    return Finding(
        code="all-grey",
        text=f"{share:.1%} of the pictures are grey, in {channels} channels",
        advice="--channels 1 trains faster and cannot tint",
        measured=share,
        threshold=GREY_HIGH,
    )
