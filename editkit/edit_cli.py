"""``editkit edit``: a latent that is kept, edited and rendered again, without another search."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from editkit.command import Output, add_command
from editkit.edit_options import add_edit_options, add_paste_option, add_placement_options, asked_recipe, placement
from editkit.errors import LatentError, OutputError, UsageError
from editkit.option_types import accept_negative_values, add_generator_options

if TYPE_CHECKING:
    from editkit.alignment import AlignedPhoto
    from editkit.edits import Recipe
    from editkit.generator import Generator
    from editkit.latent_file import LatentFile
    from editkit.weight_delta import WeightDelta

FOLDER = "edit"
"""Beside the latent, where nothing else is asked for."""
CROP, PASTED = "edited.png", "pasted.png"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``editkit edit``."""
    parser = add_command(
        subparsers,
        "edit",
        "edit a latent that was kept, without another search",
        description="Edit a latent that was kept, and render it: latent.safetensors of `editkit project`, or any other "
        "latent of ours;\na tuning.safetensors beside it is used. With the original photo, the result is pasted back "
        "into it.",
        examples=[
            (
                "editkit edit out/astronaut --edit brightness=+1",
                "a folder of editkit project: out/astronaut/edit/edited.png",
            ),
            ("editkit edit out/me --edit brightness=1 --photo me.jpg --out me_bright.jpg", "back in the whole photo"),
            ("editkit edit me.safetensors --recipe postcard.json --out cards", "a saved recipe; into a folder"),
            ("editkit edit out/me --edit none --rotate 10 --translate -0.1,0 --out me.png", "only turned and moved"),
        ],
    )
    accept_negative_values(parser)
    parser.add_argument(
        "latent", type=Path, metavar="LATENT", help="a latent.safetensors, or a folder that editkit project wrote"
    )
    add_edit_options(parser)
    parser.add_argument("--photo", type=Path, metavar="ORIGINAL", help="the photo, to paste the result back into")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE|DIR",
        help=f"a .png, .jpg or .webp (with --photo the whole photo), or a folder for {CROP} and {PASTED} (default: the "
        f'folder "{FOLDER}" beside the latent)',
    )
    parser.add_argument("--sample", type=int, metavar="N", help="which code, from 0 on, where the file holds several")
    add_generator_options(parser, label=False)
    add_placement_options(parser)
    add_paste_option(parser)
    parser.add_argument("--no-metadata", action="store_true", help="write no note and no recipe into the pictures")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from editkit.edited_picture import paste_edited, paste_way, render_edited, write_edited
    from editkit.edits import Recipe
    from editkit.generator import load_generator

    if args.edit is None and args.recipe is None and args.translate is args.rotate is args.scale is None:
        raise UsageError("say what to change: --edit NAME=STRENGTH, --recipe FILE or a placement; --edit none for none")
    path = latent_path(args.latent)
    held = one_of(path, args.sample)
    face = None if args.photo is None else _original(args.photo, held, path)
    with Output(args) as output:
        G = load_generator(args.generator, device=args.device)
        held.latent.check(G.spec)
        recipe = _recipe(args, G)
        delta = tuning_beside(path)
        G = G if delta is None else delta.added_to(G)
        output.say(f"{G.spec.name}, {G.spec.resolution} px, on {G.device}; edit: {recipe.summary}")
        crop, pasted = _targets(args.out, path, with_photo=face is not None)
        image = render_edited(G, held.latent, recipe, transform=held.transform)
        files = []
        if crop is not None:
            write_edited(crop, image, recipe, metadata=not args.no_metadata)
            files.append(crop)
        if face is not None and pasted is not None:
            way, before = paste_way(recipe, args.paste), image
            if way == "difference":
                before = render_edited(G, held.latent, Recipe(name="none", edits=()), transform=held.transform)
            whole = paste_edited(face, image, before, recipe, paste=way)
            if way != args.paste:
                output.say("the picture is moved, so the whole crop goes back into the photo")
            write_edited(pasted, whole, recipe, metadata=not args.no_metadata, photo=face.photo)
            files.append(pasted)
        for file in files:
            output.say(f"{file}")
        output.put("latent", path)
        output.put("generator", {"id": G.spec.id, "name": G.spec.name})
        output.put("edits", recipe.summary)
        output.put("edited", crop)
        output.put("pasted", pasted)
    return 0


def latent_path(path: Path) -> Path:
    """The file that is meant: itself, or the latent in a folder that `editkit project` wrote. Raises LatentError."""
    from editkit.latent_file import NAME

    try:
        if not path.is_dir() or (path / NAME).is_file():
            return path / NAME if path.is_dir() else path
        below = sorted(one.name for one in path.iterdir() if (one / NAME).is_file())
    except OSError as problem:
        reason = problem.strerror or problem
        raise LatentError(
            f"{path}: cannot be read ({reason}); check its permissions, or copy it elsewhere"
        ) from problem
    if not below:
        raise LatentError(f"{path} holds no {NAME}; give a latent, or a folder that `editkit project` wrote")
    shown = ", ".join(str(path / name) for name in below[:5]) + (", ..." if len(below) > 5 else "")
    raise LatentError(f"{path} holds no {NAME}, folders in it do; give one of them: {shown}")


def tuning_beside(latent: Path) -> WeightDelta | None:
    """What `editkit project --method pivotal` left beside the latent. Raises CheckpointError or SchemaError."""
    from editkit import latent_file, weight_delta

    beside = latent.with_name(weight_delta.NAME)
    there = latent.name == latent_file.NAME and beside.is_file()
    return weight_delta.WeightDelta.load(beside) if there else None


def one_of(path: Path, sample: int | None) -> LatentFile:
    """One code, and its placement. Raises LatentError, SchemaError, or UsageError where it must be chosen."""
    from editkit.latent_file import read_latent

    held = read_latent(path)
    count = len(held.latent)
    if sample is None and count > 1:
        raise UsageError(f"{path} holds {count} codes; choose one, --sample 0 to --sample {count - 1}")
    index = sample or 0
    if not 0 <= index < count:
        raise UsageError(f"{path} holds {count} code(s); --sample {index} is not there, 0 is the first")
    placed = held.transform
    if placed is not None and len(placed) > 1:
        placed = placed.expand(count)[index]
    return replace(held, latent=held.latent[index], transform=placed)


def _original(photo: Path, held: LatentFile, path: Path) -> AlignedPhoto:
    """The photo that the latent was found for, cropped as it was then."""
    from editkit.alignment import Alignment
    from editkit.photo import read_photo

    if held.alignment is None:
        raise UsageError(f"{path} does not say where its picture lay in a photo; leave --photo out")
    return Alignment.from_dict(held.alignment).crop(read_photo(photo))


def _recipe(args: argparse.Namespace, G: Generator) -> Recipe:
    """What the options ask for, with their placement on top of a recipe's own."""
    from editkit.edits import Recipe

    recipe = asked_recipe(args, G) or Recipe(name="edit", edits=())
    placed = placement(args)
    if placed is None:
        return recipe
    return replace(recipe, transform=placed if recipe.transform is None else placed @ recipe.transform)


def _targets(out: Path | None, latent: Path, *, with_photo: bool) -> tuple[Path | None, Path | None]:
    """Where the crop and the whole photo go; None: not written.

    Raises OutputError: the folder cannot be made, or the pictures of a report would be replaced.
    """
    from editkit.files import ensure_folder

    if out is not None and out.suffix and not os.path.isdir(out):
        crop, pasted = (None, out) if with_photo else (out, None)
    else:
        folder = ensure_folder(latent.parent / FOLDER if out is None else out)
        crop, pasted = folder / CROP, folder / PASTED if with_photo else None
    for target in (crop, pasted):
        if target is not None and os.path.exists(target) and os.path.exists(target.with_name("report.json")):
            raise OutputError(f"{target} belongs to the report.json beside it; choose another --out")
    return crop, pasted
