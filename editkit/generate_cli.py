"""``editkit generate``: pictures of a generator's own codes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.command import Output, add_command
from editkit.edit_options import add_placement_options, placement
from editkit.errors import UsageError
from editkit.option_types import (
    accept_negative_values,
    add_generator_options,
    number_list,
    number_range,
    positive,
)

if TYPE_CHECKING:
    from torch import Tensor

    from editkit.generating import Sampling
    from editkit.generator import Generator


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``editkit generate``."""
    parser = add_command(
        subparsers,
        "generate",
        "make pictures from seeds",
        description="Make pictures from seeds: one a seed, or a sheet. The same command again makes only what is "
        "missing\nor was made with other options.",
        examples=[
            ("editkit generate --out out", "sixteen pictures, out/seed0000.png and so on"),
            ("editkit generate --out out --seeds 0-8,12 --psi 0.7 --grid", "closer to the mean, and a sheet of all"),
            ("editkit generate --out out --seeds 0-3 --psi -1..1", "a sheet: a row a seed, a column a truncation"),
            ("editkit generate --out out --mix-rows 0-3 --mix-columns 4-8 --mix-layers 0-3", "a sheet of mixed styles"),
            ("editkit generate --out out --rotate 15 --translate 0.1,0 --latents", "placed, with the codes kept"),
            ("editkit generate --out out --generator cats.pkl --class tabby", "one class of a conditional generator"),
        ],
    )
    accept_negative_values(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="output folder, made if missing")
    parser.add_argument("--seeds", type=number_list, metavar="SEEDS", help="such as 0-8,12 (default: 0-15)")
    add_generator_options(parser)
    parser.add_argument("--batch", type=positive, default=8, metavar="N", help="pictures at a time (default: 8)")
    style = parser.add_argument_group("style")
    style.add_argument(
        "--psi",
        type=number_range,
        default=(1.0,),
        metavar="PSI",
        help="truncation: 1 is none, 0 the mean picture (default: 1); LOW..HIGH or LOW..HIGH:STEPS makes a sheet",
    )
    style.add_argument("--cutoff", type=int, metavar="N", help="truncate only the first N rows of w (default: all)")
    style.add_argument("--mix-rows", type=number_list, metavar="SEEDS", help="style mixing: seeds of the rows")
    style.add_argument("--mix-columns", type=number_list, metavar="SEEDS", help="seeds that the layers come from")
    style.add_argument("--mix-layers", type=number_list, metavar="ROWS", help="which rows of w, such as 0-3")
    add_placement_options(parser)
    files = parser.add_argument_group("files")
    files.add_argument(
        "--grid",
        nargs="?",
        choices=("also", "only"),
        const="also",
        help='write all pictures on one sheet, grid.png, too; "only" leaves the single ones out',
    )
    files.add_argument("--latents", action="store_true", help="keep the codes: seed0000.safetensors and so on")
    files.add_argument("--no-metadata", action="store_true", help="write no note and no settings into the pictures")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from editkit import generating
    from editkit.files import ensure_folder
    from editkit.generator import load_generator
    from editkit.photo import write_image

    mixing = (args.mix_rows, args.mix_columns, args.mix_layers)
    sweep = len(args.psi) > 1
    _check(args, mixing=mixing, sweep=sweep)
    seeds = args.seeds or tuple(range(16))
    G = load_generator(args.generator, device=args.device)
    sampling = generating.Sampling(
        classes=args.label,
        truncation_psi=1.0 if sweep else args.psi[0],
        truncation_cutoff=args.cutoff,
        transform=placement(args),
        batch=args.batch,
    )
    note = not args.no_metadata
    with Output(args) as output:
        output.put("generator", {"id": G.spec.id, "name": G.spec.name})
        folder = ensure_folder(args.out)
        sheet: tuple[str, Tensor] | None = None
        if args.mix_rows:
            sheet = "mixing.png", generating.mixing_sheet(G, *mixing, sampling=sampling)
        elif sweep:
            sheet = "truncation.png", generating.truncation_sheet(G, seeds, args.psi, sampling=sampling)
            output.say("psi: " + ", ".join(f"{psi:g}" for psi in args.psi))
        else:
            if args.grid:
                generating.check_sheet(G, len(seeds))
            if args.grid != "only":
                _pictures(output, G, seeds, args, sampling, note=note)
            if args.grid:
                sheet = "grid.png", generating.seed_sheet(G, seeds, sampling=sampling)
        if sheet is not None:
            write_image(folder / sheet[0], sheet[1], note=note)
            output.put("sheet", folder / sheet[0])
            output.say(f"{folder / sheet[0]}")
    return 0


def _check(args: argparse.Namespace, *, mixing: tuple[object, ...], sweep: bool) -> None:
    if any(mixing) and not all(mixing):
        raise UsageError("style mixing needs --mix-rows, --mix-columns and --mix-layers")
    if any(mixing) and (sweep or args.seeds or args.grid or args.latents):
        raise UsageError("style mixing makes one sheet: leave --seeds, --grid, --latents and a range of --psi out")
    if sweep and (args.grid or args.latents):
        raise UsageError("a range of --psi makes one sheet: leave --grid and --latents out")
    if args.latents and args.grid == "only":
        raise UsageError("--latents go with single pictures: leave --grid only out")


def _pictures(
    output: Output, G: Generator, seeds: tuple[int, ...], args: argparse.Namespace, sampling: Sampling, *, note: bool
) -> None:
    from editkit.generating import generate

    made = generate(
        G,
        seeds,
        args.out,
        sampling=sampling,
        latents=args.latents,
        note=note,
        on_progress=output.counter("rendering"),
    )
    output.put("pictures", [{"file": one.path, "kept": one.kept, **one.settings} for one in made])
    kept = sum(one.kept for one in made)
    if len(made) == 1:
        output.say(f"1 picture{', there before' if kept else ''}: {made[0].path}")
        return
    was = f", {kept} of them there before" if kept else ""
    output.say(f"{len(made)} pictures{was}: {made[0].path} to {made[-1].path.name}")
