"""What the page's box for experts offers, hides and asks the projector for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from project_fixtures import G, checkpoint, photo
from studio_fixtures import studio, tabs

import projector
from editkit.alignment import align
from editkit.generator import NetworkGenerator, random_generator
from editkit.page import finding, methods
from editkit.page.desk import Piece
from editkit.page.methods import Extras
from editkit.page.search_box import search_of
from editkit.page.studio import Studio
from editkit.photo import Photo

ALL = Extras(budget=7.0, placement=True, noise_maps=True, locality=True)
AUTO, W, W_PLUS, S, ENCODE, ENCODE_OPTIMISE, PIVOTAL, REFINE = methods.titles()


def test_only_what_a_method_takes_is_offered_and_asked_for(G: NetworkGenerator) -> None:
    searches = {"budget", "placement"}
    wanted = {
        AUTO: searches, W: searches, W_PLUS: searches, S: searches, PIVOTAL: {*searches, "locality"},
        ENCODE: set(), ENCODE_OPTIMISE: {"budget"}, REFINE: {"budget"},
    }  # fmt: skip
    for title, fields in wanted.items():
        assert methods.taken(title, G) == fields, title
        made = methods.make(title, G, steps=30, extras=ALL)  # nothing is refused
        for part in (made, getattr(made, "inner", None)):
            if part is not None:
                assert getattr(part, "noise_maps", None) is None
                assert (getattr(part, "placement", None) is not None) == (
                    "placement" in fields and hasattr(part, "placement")
                ), title


def test_seconds_take_the_place_of_steps(G: NetworkGenerator) -> None:
    assert methods.make(REFINE, G, steps=30).steps == 30
    for title in (AUTO, W, W_PLUS, S, ENCODE_OPTIMISE, REFINE):
        timed = methods.make(title, G, steps=30, extras=Extras(budget=7.0))
        assert timed.budget == 7.0 and timed.steps != 30, title
    tuned = methods.make(PIVOTAL, G, steps=30, extras=Extras(budget=8.0, locality=True))
    assert tuned.budget == tuned.inner.budget == 4.0 and isinstance(tuned.locality, projector.Locality)


def test_what_a_stylegan2_takes_is_found(tmp_path: Path) -> None:
    two = random_generator(kind="stylegan2", resolution=32)
    assert methods.taken(AUTO, two) == {"budget", "noise_maps"} and methods.taken(ENCODE, two) == set()
    face = align(Photo(image=torch.zeros(1, 3, 32, 32)), two.spec, convention="centre")
    for title in (AUTO, W_PLUS):
        method = methods.make(title, two, steps=2, extras=replace(ALL, budget=None))
        assert projector.project(two, face, method).latent.noise, title


def test_the_controls_say_so(tabs: SimpleNamespace) -> None:
    box = tabs.edit.search
    assert len(box.inputs) == 9 and not box.noise_maps.visible and not box.locality.visible
    shown = dict(zip(("budget", "placement", "noise_maps", "locality"), box._taken(PIVOTAL), strict=True))
    assert {name for name, update in shown.items() if update["visible"]} == {"budget", "placement", "locality"}
    told = search_of(PIVOTAL, 40.0, None, finding.CROP_AUTO, None, 0, True, False, True)
    assert told.extras == Extras(budget=None, placement=True, noise_maps=False, locality=True) and told.steps == 40
    updates = tabs.edit.follows(tabs.edit.studio.desk(tabs.request))
    assert updates[box.method] == AUTO and not updates[box.noise_maps]["visible"] and updates[box.placement]["visible"]
    tabs.edit.studio.G = random_generator(kind="stylegan2", resolution=32)
    updates = box.follows()
    assert updates[box.noise_maps]["visible"] and not updates[box.placement]["visible"]


@pytest.mark.parametrize("title", [W, PIVOTAL])
def test_a_placement_is_found_and_kept(studio: Studio, photo: Path, title: str) -> None:
    desk = studio.desks.of("a")
    finding.read(studio, desk, photo)
    plain = finding.Search(method=title, steps=2, crop=finding.CROP_CENTRE)
    *_, unmoved = finding.find(studio, desk, 0, plain)
    *_, piece = finding.find(studio, desk, 0, replace(plain, extras=Extras(placement=True)))
    assert isinstance(piece, Piece) and isinstance(unmoved, Piece)
    assert torch.equal(_matrix(unmoved), torch.eye(3)) and not torch.equal(_matrix(piece), torch.eye(3))
    kept = finding.kept_piece(studio, desk, 0, plain)
    assert kept is not None and torch.allclose(_matrix(kept), _matrix(piece))


def test_with_seconds_no_number_of_steps_is_promised(studio: Studio, photo: Path) -> None:
    desk = studio.desks.of("a")
    finding.read(studio, desk, photo)
    timed = finding.Search(method=W_PLUS, steps=2, crop=finding.CROP_CENTRE, extras=Extras(budget=1.0))
    said = [item.text for item in finding.find(studio, desk, 0, timed) if isinstance(item, finding.Glimpse)]
    assert said and not [text for text in said if " of " in text]
    said = [item.text for item in finding.find(studio, desk, 0, replace(timed, extras=Extras()))
            if isinstance(item, finding.Glimpse)]  # fmt: skip
    assert said[-1] == "Step 2 of 2"


def _matrix(piece: Piece) -> torch.Tensor:
    assert piece.transform is not None
    return piece.transform.matrix[0].float()
