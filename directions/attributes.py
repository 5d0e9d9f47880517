"""Scorers: what can be measured on a picture, so that samples can be labelled and edits judged.

A scorer is a name, a unit and a function of images. Those here read the bundled feature network (accuracy in
editkit/models/features.md); those of directions.image_statistics need no network, and your own are the same type.

    scores = attributes.yaw()(images)        # [N]

Convention: images are float32 [N, 3, R, R] in [-1, 1], aligned as ``faces128``; scores are float32 [N] on the images'
device. Labels behind age and gender presentation are those of FairFace's annotators: how a face looks to them, not who
somebody is. Nothing here identifies anyone.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.networks.features import FaceAttributes, FeatureNetwork
from editkit.perceptual import bundled_weights, feature_network

_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """Something measurable on a picture.

    Attributes:
        name: a noun, the name of the direction that it scores: "yaw".
        unit: what a score counts: "eye distances".
        measure: images [N, 3, R, R] in [-1, 1] -> scores [N].
        description: one sentence, with the sign's meaning.
        face: for scorers of the feature network, what to read off its attributes: several share one pass then.
        version: what else its scores depend on, such as a digest of weights: other scores may not be kept under it.
    """

    name: str
    unit: str
    measure: Callable[[Tensor], Tensor] = field(repr=False)
    description: str = ""
    face: Callable[[FaceAttributes], Tensor] | None = field(default=None, repr=False)
    version: str = ""

    @property
    def identity(self) -> str:
        """What its scores may be kept under: changes with all that is said of it, and the network's weights."""
        parts = [self.name, self.unit, self.description, _weights_digest() if self.face is not None else ""]
        parts += [self.version] if self.version else []
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    def __call__(self, images: Tensor, *, attributes: FaceAttributes | None = None) -> Tensor:
        """Score images [N, 3, R, R] -> float32 [N]. Raises UsageError on another shape, in or out.

        ``attributes`` of these images, where they are known already.
        """
        if images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
            raise UsageError(f"The scorer {self.name!r} needs images [N, 3, R, R], got {tuple(images.shape)}.")
        known = self.face is not None and attributes is not None
        scores = self.face(attributes) if known else self.measure(images)  # type: ignore[misc, arg-type]
        if scores.shape != (len(images),):
            raise UsageError(f"The scorer {self.name!r} gave {tuple(scores.shape)}, one number an image is needed.")
        return scores.float()


def age() -> Scorer:
    """Expected age in years from the probabilities of six brackets."""
    return _scorer("age", "years", lambda found: found.age, "Apparent age; brackets below 20 were never seen.")


def gender_presentation() -> Scorer:
    """Log-odds that annotators call the face "Male" rather than "Female"."""
    return _scorer(
        "gender_presentation",
        "log-odds",
        lambda found: found.gender_logit,
        'Positive where annotators would say "Male", negative where "Female".',
    )


def yaw() -> Scorer:
    """Turn of the head, as the offset of the nose tip from the face's middle line."""
    return _scorer("yaw", "eye distances", lambda found: found.yaw, "Positive: the nose points to the image's right.")


def roll() -> Scorer:
    """Tilt of the line through the eyes."""
    return _scorer("roll", "degrees", _roll, "Positive: tilted counter-clockwise as seen.")


def smile_width() -> Scorer:
    """Width of the mouth over the distance of the eyes; a broad smile widens the mouth."""
    return _scorer("smile_width", "eye distances", _mouth_width, "Width of the mouth, corner to corner.")


def mouth_drop() -> Scorer:
    """How far the mouth's corners lie below the nose tip over the distance of the eyes; a smile raises them."""
    return _scorer("mouth_drop", "eye distances", _mouth_drop, "Height of the nose tip above the mouth's corners.")


def pitch() -> Scorer:
    """Nod of the head, as the height of the nose tip between the eyes and the mouth."""
    return _scorer(
        "pitch", "share of eyes to mouth", _pitch, "Nose tip's way from the eyes to the mouth; more as the head nods."
    )


def face_length() -> Scorer:
    """Distance from eyes to mouth over the distance of the eyes."""
    return _scorer("face_length", "eye distances", _face_length, "Eyes to mouth; also grows as the head turns aside.")


def face_size() -> Scorer:
    """Distance of the eyes in image widths."""
    return _scorer("face_size", "image widths", lambda found: _eye_distance(found), "Distance of the eyes.")


BUILT_IN: dict[str, Callable[[], Scorer]] = {
    "age": age,
    "gender_presentation": gender_presentation,
    "yaw": yaw,
    "roll": roll,
    "smile_width": smile_width,
    "mouth_drop": mouth_drop,
    "pitch": pitch,
    "face_length": face_length,
    "face_size": face_size,
}
"""Name -> the function that makes the scorer."""


def scorer(name: str) -> Scorer:
    """A built-in scorer, of faces or of image statistics, by its name. Raises UsageError, listing the names."""
    known = built_in()
    if name not in known:
        raise UsageError(f"No scorer is called {name!r}; there are {', '.join(known)}.")
    return known[name]()


def built_in(*, faces: bool = True, network: bool = True) -> dict[str, Callable[[], Scorer]]:
    """Name -> what makes each built-in scorer: those of any picture, of ``faces``, of the feature ``network``."""
    from directions import face_statistics, image_statistics  # whose scorers are of this module's type

    return {
        **image_statistics.BUILT_IN,
        **(face_statistics.BUILT_IN if faces else {}),
        **(BUILT_IN if faces and network else {}),
    }


def label(images: Tensor, scorers: Sequence[Scorer]) -> dict[str, Tensor]:
    """Score images [N, 3, R, R] by every scorer: name -> float64 [N] on the CPU, without gradients.

    Raises UsageError where there is no scorer, or two have the same name.
    """
    names = [each.name for each in scorers]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"Labelling needs scorers with different names, got {names or 'none'}.")
    with torch.no_grad():
        found = face_attributes(images) if any(each.face is not None for each in scorers) else None
        return {each.name: each(images, attributes=found).double().cpu() for each in scorers}


def face_attributes(images: Tensor, *, network: FeatureNetwork | None = None) -> FaceAttributes:
    """All attributes of images [N, 3, R, R] in one pass, in batches that fit into little memory."""
    network = network or feature_network(device=images.device)
    parts = [network.attributes(part) for part in images.split(_BATCH)]
    return FaceAttributes(
        age_logits=torch.cat([part.age_logits for part in parts]),
        gender_logit=torch.cat([part.gender_logit for part in parts]),
        yaw=torch.cat([part.yaw for part in parts]),
        landmarks=torch.cat([part.landmarks for part in parts]),
    )


def _scorer(name: str, unit: str, read: Callable[[FaceAttributes], Tensor], description: str) -> Scorer:
    return Scorer(
        name=name,
        unit=unit,
        measure=lambda images: read(face_attributes(images)),
        description=description,
        face=read,
    )


@functools.cache
def _weights_digest() -> str:
    path = bundled_weights()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _eye_distance(found: FaceAttributes) -> Tensor:
    return (found.landmarks[:, 1] - found.landmarks[:, 0]).norm(dim=1).clamp(min=1e-3)


def _roll(found: FaceAttributes) -> Tensor:
    line = found.landmarks[:, 1] - found.landmarks[:, 0]
    return torch.rad2deg(torch.atan2(-line[:, 1], line[:, 0]))  # y points down


def _mouth_width(found: FaceAttributes) -> Tensor:
    return (found.landmarks[:, 4] - found.landmarks[:, 3]).norm(dim=1) / _eye_distance(found)


def _mouth_drop(found: FaceAttributes) -> Tensor:
    corners = found.landmarks[:, 3:].mean(dim=1)
    return _below(found, corners) - _below(found, found.landmarks[:, 2])


def _face_length(found: FaceAttributes) -> Tensor:
    return _below(found, found.landmarks[:, 3:].mean(dim=1))


def _pitch(found: FaceAttributes) -> Tensor:
    return _below(found, found.landmarks[:, 2]) / _face_length(found).clamp(min=1e-3)


def _below(found: FaceAttributes, points: Tensor) -> Tensor:
    """How far points [N, 2] lie below the line of the eyes, at right angles to it, in eye distances."""
    left, right = found.landmarks[:, 0], found.landmarks[:, 1]
    line, offset = right - left, points - left
    return (line[:, 0] * offset[:, 1] - line[:, 1] * offset[:, 0]) / line.square().sum(1).clamp(min=1e-6)
