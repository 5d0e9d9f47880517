"""Photo editing with alias-free GANs: photo -> align -> project -> latent -> edit -> render -> image.

This package is the vocabulary; ``projector`` finds latents, ``directions`` finds edits, ``train`` makes generators.
Names are loaded on first use (PEP 562), so ``import editkit`` takes milliseconds and pulls in no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from editkit.errors import EditkitError
from editkit.lazy import lazy_names

if TYPE_CHECKING:
    from editkit.alignment import AlignedPhoto, Alignment, align
    from editkit.direction import Direction
    from editkit.edits import Edit, Recipe, apply_edits, mix
    from editkit.generator import Generator, GeneratorSpec, load_generator, save_generator
    from editkit.latent import Latent
    from editkit.latent_exchange import export_latent, import_latent
    from editkit.network_loading import load_discriminator
    from editkit.onnx_export import export_onnx
    from editkit.photo import Photo, read_photo, write_image
    from editkit.rendered_path import render_path
    from editkit.rendering import image_grid, render
    from editkit.several_faces import align_faces, paste_faces
    from editkit.transform import Transform
    from editkit.video import write_video
    from editkit.weight_delta import WeightDelta

__version__ = "0.1.0"

__all__ = [
    "AlignedPhoto",
    "Alignment",
    "Direction",
    "Edit",
    "EditkitError",
    "Generator",
    "GeneratorSpec",
    "Latent",
    "Photo",
    "Recipe",
    "Transform",
    "WeightDelta",
    "__version__",
    "align",
    "align_faces",
    "apply_edits",
    "export_latent",
    "export_onnx",
    "image_grid",
    "import_latent",
    "load_discriminator",
    "load_generator",
    "mix",
    "paste_faces",
    "read_photo",
    "render",
    "render_path",
    "save_generator",
    "write_image",
    "write_video",
]

_HOMES = {
    "AlignedPhoto": "editkit.alignment",
    "Alignment": "editkit.alignment",
    "Direction": "editkit.direction",
    "Edit": "editkit.edits",
    "Generator": "editkit.generator",
    "GeneratorSpec": "editkit.generator",
    "Latent": "editkit.latent",
    "Photo": "editkit.photo",
    "Recipe": "editkit.edits",
    "Transform": "editkit.transform",
    "WeightDelta": "editkit.weight_delta",
    "align": "editkit.alignment",
    "align_faces": "editkit.several_faces",
    "apply_edits": "editkit.edits",
    "export_latent": "editkit.latent_exchange",
    "export_onnx": "editkit.onnx_export",
    "image_grid": "editkit.rendering",
    "import_latent": "editkit.latent_exchange",
    "load_discriminator": "editkit.network_loading",
    "load_generator": "editkit.generator",
    "mix": "editkit.edits",
    "paste_faces": "editkit.several_faces",
    "read_photo": "editkit.photo",
    "render": "editkit.rendering",
    "render_path": "editkit.rendered_path",
    "save_generator": "editkit.generator",
    "write_image": "editkit.photo",
    "write_video": "editkit.video",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
