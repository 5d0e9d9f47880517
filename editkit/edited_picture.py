"""The picture of an edited latent, and its file: what `editkit project`, `editkit edit` and the page share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from editkit.edits import Recipe, apply_edits
from editkit.pasting import Paste
from editkit.photo import Photo, write_image
from editkit.rendering import render
from editkit.transform import Transform

if TYPE_CHECKING:
    from editkit.alignment import AlignedPhoto
    from editkit.generator import Generator
    from editkit.latent import Latent


def render_edited(G: Generator, latent: Latent, recipe: Recipe, *, transform: Transform | None = None) -> Tensor:
    """``latent`` with the edits and the placement of ``recipe``: [N, 3, R, R] on the CPU.

    ``transform`` is where the picture sat before; the recipe's placement comes on top. Raises as ``apply_edits`` and
    ``render`` do.
    """
    placed = recipe.transform
    if placed is None or transform is None:
        placed = transform if placed is None else placed
    else:
        placed = placed @ transform
    return render(G, apply_edits(latent, recipe, generator=G), transform=placed)


def paste_way(recipe: Recipe, paste: Paste = "difference") -> Paste:
    """How the picture of a recipe goes back into its photo: as asked for, but one that is moved replaces the crop.

    The difference of a moved picture and the one in place would leave the photo's own face where it was, beside the
    new one.
    """
    return paste if recipe.transform is None or recipe.transform.is_identity else "replace"


def paste_edited(
    face: AlignedPhoto, image: Tensor, inverted: Tensor, recipe: Recipe, *, paste: Paste = "difference"
) -> Tensor:
    """The photo [1, 3, H, W] with the edited picture back in it, as ``paste_way`` says.

    image, inverted: [1, 3, S, S], with the edits and the placement of ``recipe``, and without.
    Raises UsageError as ``AlignedPhoto.paste_back`` does.
    """
    before = inverted.clamp(-1, 1) if paste_way(recipe, paste) == "difference" else None
    return face.paste_back(image.clamp(-1, 1), inverted=before)


def write_edited(
    path: str | Path, image: Tensor, recipe: Recipe, *, metadata: bool = True, photo: Photo | None = None
) -> None:
    """Write an edited picture; with ``metadata`` it says so, and holds the recipe. Raises as ``write_image`` does.

    ``photo``: whose picture it is, pasted back; its transparency is put back, and in a PNG its 16 bits are kept.
    """
    texts = {"recipe": recipe.to_json()} if metadata else None
    if photo is None:
        write_image(path, image, metadata=texts, note=metadata)
        return
    depth = photo.depth if Path(path).suffix.lower() == ".png" else 8
    write_image(path, image, metadata=texts, note=metadata, alpha=photo.alpha, depth=depth)
