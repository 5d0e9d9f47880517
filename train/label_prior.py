"""What a run keeps of its data's labels, for the pictures and figures that are made of its generator."""

import numpy as np

from editkit.label_prior import LabelPrior
from train.dataset import ImageDataset

MOST_VECTORS = 256
MOST_NUMBERS = 2**16  # in all of them: it goes into the header of every file


def label_prior(dataset: ImageDataset, *, c_dim: int) -> LabelPrior | None:
    """The shares of the classes, or vectors of evenly spaced pictures.

    None where the data have no labels, or others than a generator of ``c_dim`` takes: StyleGAN-XL has one class where
    there are none.
    """
    classes = dataset.classes
    if classes is None or dataset.c_dim != c_dim:
        return None
    if classes.ndim == 1:
        counts = np.bincount(classes, minlength=c_dim)
        return LabelPrior(shares=tuple(round(float(count) / len(classes), 8) for count in counts))
    count = max(2, min(MOST_VECTORS, MOST_NUMBERS // c_dim, len(classes)))
    chosen = classes[np.linspace(0, len(classes) - 1, count).round().astype(int)].astype(np.float32)
    # The shortest decimals that give these numbers back.
    return LabelPrior(vectors=tuple(tuple(float(str(value)) for value in row) for row in chosen))
