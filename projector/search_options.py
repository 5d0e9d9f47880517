"""The options of `editkit project` that choose a method and its settings."""

from __future__ import annotations

import argparse
from typing import Any

from editkit.option_types import add_class_option, add_generator_options, seconds
from projector.methods import NAMES


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """The group "search"."""
    search = parser.add_argument_group("search")
    search.add_argument(
        "--method",
        choices=NAMES,
        default="auto",
        help="search in W, W+ or S (W+, then the styles of each layer), encode without a search, search from there, or "
        "also tune a copy of the weights (pivotal: closest, and slowest); auto weighs those without tuning by what "
        "was measured of them, within --budget, and says what it took (default)",
    )
    search.add_argument(
        "--encoder", metavar="FILE", help="of `editkit train encoder` (default: the bundled one, where it fits)"
    )
    search.add_argument("--steps", type=int, metavar="N", help="at most so many (default: what the method uses)")
    search.add_argument(
        "--budget",
        type=seconds,
        metavar="TIME",
        help="time for the search of each photo, from the end of its first step: 60s, 2m or seconds",
    )
    search.add_argument(
        "--placement",
        action="store_true",
        help="experimental: seek shift, angle and scale as well, for photos that are not aligned: crops are then "
        "centred squares unless --align says otherwise (not with StyleGAN2)",
    )
    search.add_argument(
        "--noise-maps",
        action="store_true",
        help="of a StyleGAN2: fit its noise maps too; latent.safetensors keeps them (with w, w+, s)",
    )
    search.add_argument(
        "--locality",
        action="store_true",
        help="with pivotal: hold the generator still elsewhere while it is tuned; each step draws two pictures more",
    )
    search.add_argument(
        "--mixed-precision", action="store_true", help="convolutions in bfloat16: faster, on NVIDIA GPUs only"
    )
    search.add_argument("--seed", type=int, default=0, metavar="N", help="of the random numbers (default: 0)")
    add_generator_options(search, label=False)
    add_class_option(search, default="the search starts from all of them")


def search_options(args: argparse.Namespace) -> dict[str, Any]:
    """What ``method_named`` takes of them."""
    names = ("steps", "budget", "encoder", "placement", "noise_maps", "locality", "mixed_precision")
    return {name: getattr(args, name) for name in names}
