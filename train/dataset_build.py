"""Building a data set as a zip in the official layout, and checking one that there is.

Layout (Karras et al. 2020, ADA; the same for StyleGAN3): pictures ``00000/img00000000.png`` ..., a thousand a folder,
all square and of one size, and ``dataset.json`` with ``{"labels": [[name, class or vector], ...]}`` or
``{"labels": null}``. ``class_names`` and ``editkit`` beside it are ours; other readers pass them over.
"""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from editkit import __version__
from editkit.errors import OutputError, TrainingDataError, UsageError
from editkit.files import atomic_path
from train.dataset import DOCUMENT, open_dataset
from train.dataset_duplicates import NEAR, Duplicates
from train.dataset_labels import Labels, csv_labels, folder_labels, json_labels
from train.dataset_pixels import CHANNELS, Crop, sizes_of, sizes_text
from train.dataset_report import Survey
from train.dataset_source import Source
from train.dataset_survey import Picture, Skipped, survey

SCHEMA = 1
PER_FOLDER = 1000
Progress = Callable[[int, int], None]


def build_dataset(
    source: str | Path,
    out: str | Path,
    *,
    crop: Crop | None = None,
    channels: int = 3,
    labels: str | Path | None = None,
    label_column: str | None = None,
    kind: Literal["png", "webp"] = "png",
    near: int = NEAR,
    min_side: int = 0,
    workers: int | None = None,
    force: bool = False,
    on_progress: Progress | None = None,
) -> Survey:
    """Write the pictures of a folder or zip as a data set.

    crop: how pictures become squares; the centre, at the one size that all have, by default.
    labels: "folders" (the first sub-folder is the class), "none", or a CSV or JSON file, looked for in ``source`` too;
        by default those of the source's ``dataset.json``, if it has any.
    label_column: of the class, in a CSV.
    near: bits of 256 by which near duplicates differ at most; 0: only the same pixels count.
    min_side: leave out pictures whose crop is narrower, in their own pixels.
    force: replace ``out``.
    Broken files, pictures without a face and duplicates are left out and listed in what is returned. ``out`` appears
    when it is complete; after an error, a full disk or Ctrl-C there is nothing, or what was there before.
    Raises TrainingDataError: nothing usable, mixed sizes without a resolution, labels that do not fit. OutputError.
    """
    crop, target = crop or Crop(), Path(out)
    if channels not in CHANNELS or kind not in ("png", "webp"):
        raise UsageError(f"a data set has 1, 3 or 4 channels, as png or webp, got {channels} and {kind!r}")
    if target.suffix.lower() != ".zip":
        raise OutputError(f"cannot write {target}: a data set is built as one file NAME.zip")
    if target.exists() and not force:
        raise OutputError(f"{target} exists already; choose another name, or --force to replace it")
    pictures = Source(source)
    found = _labels(pictures, labels, label_column)
    if found is not None:
        found.of(pictures.names)  # checks them before the work
    if crop.resolution is None:
        _check_one_size(pictures, crop)
    result = Survey(source=pictures.path, crop=crop, channels=channels, total=len(pictures.names))
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        entries: list[tuple[str, str]] = []  # name in the zip, name in the source
        duplicates = Duplicates(near=near)
        side = crop.resolution
        _pass_over_special(result, pictures)
        for item in survey(
            pictures,
            pictures.names,
            crop=crop,
            channels=channels,
            min_side=min_side,
            encode_as=kind,
            workers=workers,
            on_progress=on_progress,
        ):
            item = unless_duplicate(item, duplicates)
            result.add(item)
            if isinstance(item, Skipped):
                continue
            side = side or item.pixels.shape[0]
            if item.pixels.shape[0] != side:
                raise TrainingDataError(
                    f"{item.name} is {item.pixels.shape[0]} pixels a side, others {side}: mixed sizes"
                )
            name = f"{len(entries) // PER_FOLDER:05d}/img{len(entries):08d}.{kind}"
            archive.writestr(name, item.encoded or b"")
            entries.append((name, item.name))
        if len(entries) < 2:
            lost = ", ".join(f"{len(names)} {reason}" for reason, names in result.skipped.items() if names) or "none"
            raise TrainingDataError(
                f"{pictures.path} has {len(entries)} usable pictures of {len(pictures.names)} (left out: {lost}); "
                "training takes two at the least, better thousands"
            )
        archive.writestr(DOCUMENT, json.dumps(_document(entries, found, crop, side, channels)))
    result.out, result.entries = target, entries
    if found is not None:
        result.count_classes(found)
    return result


def check_dataset(
    path: str | Path,
    *,
    resolution: int | None = None,
    near: int = NEAR,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> Survey:
    """Look at every picture of a folder or zip as training would read it. Writes nothing.

    ``problems`` of what is returned says what training would refuse: mixed sizes, damaged pictures, labels that do not
    fit. Raises TrainingDataError where there is no data set at all.
    """
    source, problems = Source(path), []
    crop = Crop(resolution=resolution)
    labels = None
    try:
        labels = json_labels(source.read(DOCUMENT)) if DOCUMENT in source.others else None
        if labels is not None:
            labels.of(source.names)
    except TrainingDataError as error:
        problems.append(str(error))
        labels = None
    try:
        channels = open_dataset(path, resolution=resolution, part="all", cache="none").channels
    except TrainingDataError as error:
        problems.append(str(error))
        channels = 3
    result = Survey(source=source.path, crop=crop, channels=channels, total=len(source.names), problems=problems)
    duplicates = Duplicates(near=near)
    _pass_over_special(result, source)
    for item in survey(source, source.names, crop=crop, channels=channels, workers=workers, on_progress=on_progress):
        repeated = unless_duplicate(item, duplicates)
        if isinstance(item, Picture):
            result.add(item)  # a duplicate is still trained on
            result.entries.append((item.name, item.name))
        if isinstance(repeated, Skipped):
            result.skipped[repeated.reason].append((repeated.name, repeated.detail))
    broken = result.skipped["broken"]
    if broken and not any(broken[0][0] in text for text in problems):
        problems.append(f"{len(broken)} pictures cannot be read, the first is {broken[0][0]}: {broken[0][1]}")
    if labels is not None:
        result.count_classes(labels)
    return result


def _pass_over_special(result: Survey, source: Source) -> None:
    result.total += len(source.special)
    for name in source.special:
        result.add(Skipped(name=name, reason="not a file", detail="a named pipe, a socket or a device"))


def unless_duplicate(item: Picture | Skipped, duplicates: Duplicates) -> Picture | Skipped:
    """The picture, or that it is skipped, being much like an earlier one."""
    if isinstance(item, Skipped):
        return item
    twin = duplicates.add(item.name, item.measures)
    if twin is None:
        return item
    name, bits = twin
    if bits == 0:
        return Skipped(name=item.name, reason="duplicate", detail=f"the same pixels as {name}")
    return Skipped(name=item.name, reason="near duplicate", detail=f"much like {name}, {bits} of 256 bits")


def _labels(source: Source, labels: str | Path | None, column: str | None) -> Labels | None:
    if column is not None and (labels is None or not str(labels).lower().endswith(".csv")):
        raise UsageError("--label-column chooses a column of a CSV; give the CSV with --labels")
    if labels == "none":
        return None
    if labels == "folders":
        return folder_labels(source.names)
    if labels is None:
        return json_labels(source.read(DOCUMENT)) if DOCUMENT in source.others else None
    file = Path(labels)
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".json"):
        raise UsageError(f"labels come from folders, none, FILE.csv or FILE.json, got {str(labels)!r}")
    if not file.is_file() and str(labels) not in source.others:
        raise TrainingDataError(f"there is no file {file}, neither here nor in {source.path}")
    try:
        text = (file.read_bytes() if file.is_file() else source.read(str(labels))).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingDataError(f"cannot read {file}: {error}; labels are UTF-8 text") from error
    found = csv_labels(text, column=column) if suffix == ".csv" else json_labels(text)
    if found is None:
        raise TrainingDataError(f"{file} holds no labels")
    return found


def _check_one_size(source: Source, crop: Crop) -> None:
    sizes = sizes_of(source, source.names)
    kept = {min(size) if crop.kind == "centre" else size for size in sizes}
    if len(kept) > 1:
        raise TrainingDataError(
            f"{source.path} has pictures of mixed sizes: {sizes_text(sizes)}; "
            "give --resolution to bring them to one size"
        )


def _document(
    entries: Sequence[tuple[str, str]], labels: Labels | None, crop: Crop, side: int | None, channels: int
) -> dict[str, Any]:
    pairs = None
    if labels is not None:
        values = [labels.values[original] for _, original in entries]
        pairs = [
            [name, list(value) if isinstance(value, tuple) else value] for (name, _), value in zip(entries, values)
        ]
    about = {"schema": SCHEMA, "version": __version__, "resolution": side, "channels": channels, "crop": crop.kind}
    about |= {"convention": crop.convention} if crop.kind == "face" else {}
    names = {"class_names": list(labels.class_names)} if labels is not None and labels.class_names else {}
    return {"labels": pairs, **names, "editkit": about}
