"""``editkit align``: photos in, the crops that a generator expects out."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editkit.command import Output, add_command
from editkit.errors import NoFaceError, PhotoError, UsageError

if TYPE_CHECKING:
    from editkit.alignment import AlignedPhoto

log = logging.getLogger(__name__)

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif"})
"""What counts as a photo in a folder, for this command and for `editkit project`."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``align`` to the command line."""
    parser = add_command(
        subparsers,
        "align",
        "crop photos as a generator expects them",
        examples=[
            ("editkit align me.jpg --out crops", "the largest face, upright, 256 pixels a side: crops/me.png"),
            ("editkit align me.jpg --out crop.png", "the same as a file of that name"),
            ("editkit align holiday --out crops --all-faces --resolution 512", "every face of every photo of a folder"),
            ("editkit align me.jpg --out crops --convention ffhq --resolution 1024", "for the official face networks"),
            ("editkit align cat.jpg --out crops --align centre", "the largest centre square; no face is needed"),
            ("editkit align me.jpg --out crops --box 120,80,200,200", "where the face is, when it is not found"),
        ],
    )
    parser.add_argument(
        "photo", nargs="?", metavar="PHOTO|DIR", help="a photo or a folder; the sample photo by default"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR|FILE", help="folder for the crops, made if missing; of one, also its file"
    )
    parser.add_argument(
        "--convention",
        "--align",
        dest="convention",
        choices=("faces128", "ffhq", "centre"),
        default="faces128",
        help="faces128: the bundled networks; ffhq: the official face networks; centre: no face (default: faces128)",
    )
    parser.add_argument("--resolution", type=int, default=256, metavar="PIXELS", help="side of a crop (default: 256)")
    parser.add_argument(
        "--box", type=parse_box, metavar="X,Y,W,H", help="where the face, or with centre the square, is"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--face", type=int, default=0, metavar="N", help="which face, 0 being the largest (default: 0)")
    which.add_argument("--all-faces", action="store_true", help="a crop for every face: NAME_0.png, NAME_1.png, ...")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Align what ``args`` names. Of a folder, photos that fail are reported and the others are still written."""
    from editkit.decoding import is_folder
    from editkit.files import ensure_folder

    if args.all_faces and (args.box is not None or args.convention == "centre"):
        raise UsageError("--all-faces looks for faces; it does not go with --box or --align centre")
    source = None if args.photo is None else Path(args.photo)
    many = source is not None and is_folder(source)
    sources: list[Path | None] = [source]
    if source is not None and many:
        sources = list(photos_in(source))
    out = Path(args.out)
    named = out.suffix.lower() in PHOTO_SUFFIXES and not out.is_dir()
    if named and (many or args.all_faces):
        raise UsageError(f"--out is a folder where there may be several crops, got the file {out}")
    folder = ensure_folder(out.parent if named else out)
    names = _names(sources)
    failed = 0
    with Output(args) as output:
        results: list[dict[str, Any]] = []
        output.put("photos", results)
        for path in sources:
            try:
                results += _align_one(path, out if named else folder / f"{names[path]}.png", args, output)
            except PhotoError as error:
                if not many:
                    raise
                failed += 1
                log.error("%s", error)
                results.append({"photo": path, "error": str(error)})
        if many:
            output.say(f"{len(sources) - failed} of {len(sources)} photos aligned in {folder}")
    return 1 if failed else 0


def photos_in(folder: Path) -> list[Path]:
    """The pictures of a folder, by suffix, sorted by name. Raises PhotoError: there is none, or nobody may look."""
    from editkit.decoding import unreadable

    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file())
    except OSError as error:
        raise unreadable(folder, error) from error
    if not found:
        raise PhotoError(f"{folder} holds no pictures ({', '.join(sorted(PHOTO_SUFFIXES))})")
    return found


def _names(sources: list[Path | None]) -> dict[Path | None, str]:
    """The stem of each photo, with its suffix where two share a stem."""
    stems = ["astronaut" if path is None else path.stem for path in sources]
    return {
        path: stem if path is None or stems.count(stem) == 1 else path.name.replace(".", "_")
        for path, stem in zip(sources, stems, strict=True)
    }


def _align_one(path: Path | None, target: Path, args: argparse.Namespace, output: Output) -> list[dict[str, Any]]:
    from editkit.alignment import align
    from editkit.photo import read_photo, sample_photo, write_image

    photo = sample_photo() if path is None else read_photo(path)
    if args.all_faces:
        from editkit.faces import find_faces

        points = [face.points for face in find_faces(photo.image)]
        crops = [align(photo, args.resolution, convention=args.convention, landmarks=p) for p in points]
        if not crops:
            raise NoFaceError(f"no face was found in {path or 'the sample photo'}")
    else:
        options = {"convention": args.convention, "box": args.box, "face": args.face}
        crops = [align(photo, args.resolution, **options)]
    written = []
    for index, crop in enumerate(crops):
        file = target.with_stem(f"{target.stem}_{index}") if args.all_faces else target
        write_image(file, crop.image, note=False)
        output.say(f"{file}: {_summary(crop)}")
        written.append({"photo": path or photo.path, "crop": file, **crop.alignment.to_dict()})
    return written


def _summary(crop: AlignedPhoto) -> str:
    alignment = crop.alignment
    scale = float(alignment.photo_to_crop[:2, 0].norm())
    side = alignment.crop_size / scale
    points = "no landmarks" if alignment.landmarks is None else f"{len(alignment.landmarks)} landmarks"
    return f"{alignment.convention}, {points}, {side:.0f} photo pixels -> {alignment.crop_size}"


def parse_box(text: str) -> tuple[float, float, float, float]:
    """The argparse type of ``--box``."""
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected four numbers x,y,width,height, got {text!r}") from error
    return x, y, width, height
