"""The model card of the bundled encoder: every figure beside the command that repeats it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEMPLATE = """# {file}: the encoder of the bundled generator

A small residual network ({parameters:.1f} million parameters, 0.13 GFLOP a look, half precision, {size:.1f} MB) trained
from scratch in this repository. It looks at a photo beside what the generator makes of the current code, and moves the
code: `projector.Encode` in a few looks, without a search; `projector.EncodeThenOptimise` searches on from there.
The file also keeps, for each row of W+, {directions} directions in which pictures change most, so that this search is
well scaled (`projector/curvature.py`).
It belongs to generator `{generator}` and is refused beside another.

## How it was made
- **Network** four stages at 1/2 to 1/16 of 64 px ({widths} channels), no normalisation layer, one row for
  all layers plus an offset for each; beside it a linear path of rank {rank} from the difference at 16 px.
  `projector/encoder_network.py`.
- **Teachers** pictures of the generator with known codes, regressed; and
  {data}: 9,594 aligned faces of adults (FairFace, Karkkainen and Joo, WACV 2021, CC BY 4.0; photos from YFCC-100M),
  judged by what the generator makes of their codes, with the search's loss and its regularisers. Rows whose index is a
  multiple of 10 (1,066) were never trained on.
- **Run** {searched} training photographs were searched for: the first look is at the mean of their codes
  (`train/photo_codes.py`), samples are drawn about it, and the directions were measured there. Then the linear
  path as a damped Gauss-Newton step from that face (`train/encoder_start.py`), then {steps:,} steps,
  {pictures:,} pictures rendered, in {minutes:.0f} minutes on a contended share of one CPU core. Far from converged.

      editkit train encoder --data faces128_train.zip --minutes {minutes:.0f} --out editkit/models/{file}
      editkit train encoder --data faces128_train.zip --evaluate editkit/models/{file}

## Figures, on {photos} unseen photos
| looks | {looks} |
|---|{bars}
| PSNR | {psnr} |

After the last: SSIM {ssim:.3f}, perceptual distance ({perceptual_name}) {perceptual:.3f}. PSNR and SSIM on
uint8-rounded aligned crops, data range 255; of the looks so far the best is kept. Beside every other method, on
portraits: docs/projection.md (`python benchmarks/projection.py PHOTOS`).

## Limits
- Near-frontal, aligned faces of adults at 64 px, as the generator itself. On other pictures its codes mean little, and
  a search from them may end worse than one from the mean.
- It renders soft pictures; what makes a face somebody's own comes with the search.
- Attribution: FairFace (CC BY 4.0). The weights come under Apache-2.0 like the code.
"""


def encoder_card(file: str, size: int, header: Mapping[str, Any], *, parameters: int, directions: int) -> str:
    """Markdown, from the file's name, its bytes, header, and how many parameters and directions a row."""
    arguments, training = header["arguments"], header["training"]
    figures = training["evaluation"]
    psnr = {key.removeprefix("psnr_"): value for key, value in figures.items() if key.startswith("psnr_")}
    return _TEMPLATE.format(
        file=file,
        size=size / 1e6,
        parameters=parameters / 1e6,
        directions=directions,
        generator=training["generator"],
        widths=", ".join(str(width) for width in arguments["widths"]),
        rank=arguments["rank"],
        data=training["data"],
        searched=training["searched"],
        steps=training["steps"],
        pictures=training["pictures_rendered"],
        minutes=training["minutes"],
        photos=figures["photos"],
        looks=" | ".join(psnr),
        bars="---|" * len(psnr),
        psnr=" | ".join(f"{value:.2f} dB" for value in psnr.values()),
        ssim=figures["ssim"],
        perceptual=figures["perceptual"],
        perceptual_name=figures["perceptual_name"],
    )
