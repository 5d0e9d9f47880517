"""Every face of a photo: a crop each, and one picture with all of them pasted back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from editkit.alignment import AlignedPhoto, CropSpec, align
from editkit.errors import NoFaceError, UsageError
from editkit.faces import find_faces
from editkit.pasting import FEATHER, paste
from editkit.photo import Photo


def align_faces(photo: Photo, spec: CropSpec | int, *, convention: str | None = None) -> list[AlignedPhoto]:
    """A crop of every face of ``photo``, the largest first; options as of ``editkit.align``.

    Raises NoFaceError where none is found, and UsageError for a convention that looks for no face.
    """
    wanted = convention or (None if isinstance(spec, int) else spec.alignment) or "faces128"
    if wanted == "centre":
        raise UsageError("the centre crop looks for no face; choose faces128 or ffhq to crop every face")
    count = len(find_faces(photo.image))
    if not count:
        raise NoFaceError(f"no face was found in {photo.path or 'the photo'}; editkit.align takes a box or the centre")
    return [align(photo, spec, convention=wanted, face=index) for index in range(count)]


def paste_faces(
    faces: Sequence[AlignedPhoto],
    images: Sequence[Tensor],
    *,
    inverted: Sequence[Tensor] | None = None,
    feather: float = FEATHER,
) -> Tensor:
    """The photo [1, 3, H, W] with every one of ``images``, each [1, 3, S, S], in the place of its crop.

    faces: crops of one photo. images, inverted: one a face; see ``AlignedPhoto.paste_back``. Where crops overlap, all
    differences count, and of whole crops the last one lies on top. Pixels outside all crops stay, bit for bit.
    Raises UsageError: no face, crops of different photos, or another number of pictures.
    """
    if not faces or any(not torch.equal(face.photo.image, faces[0].photo.image) for face in faces[1:]):
        raise UsageError(f"crops of one photo are pasted back together, got {len(faces)} of none or of several")
    if len(images) != len(faces) or (inverted is not None and len(inverted) != len(faces)):
        raise UsageError(f"one picture a face is pasted back: {len(faces)} faces, {len(images)} pictures")
    result = faces[0].photo.image
    for index, face in enumerate(faces):
        result = paste(
            result,
            images[index],
            photo_to_crop=face.alignment.photo_to_crop,
            crop_size=face.alignment.crop_size,
            inverted=None if inverted is None else inverted[index],
            feather=feather,
        )
    return result
