"""What the page's box for experts offers, hides and asks the projector for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from project_fixtures import G, checkpoint, photo
from studio_fixtures import studio, tabs

import projector
from editkit.generator import NetworkGenerator, random_generator
from editkit.page import finding, methods
from editkit.page.desk import Piece
from editkit.page.methods import Extras
from editkit.page.search_box import search_of
from editkit.page.studio import Studio

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


def test_the_noise_maps_of_a_stylegan2_are_offered() -> None:
    two = random_generator(kind="stylegan2", resolution=32)
    assert "noise_maps" in methods.taken(AUTO, two) and "noise_maps" not in methods.taken(ENCODE, two)
    assert methods.make(W_PLUS, two, steps=3, extras=ALL).noise_maps is not None


def test_the_controls_say_so(tabs: SimpleNamespace) -> None:
    box = tabs.edit.search
    assert len(box.inputs) == 9 and not box.noise_maps.visible and not box.locality.visible
    shown = dict(zip(("budget", "placement", "noise_maps", "locality"), box._taken(PIVOTAL), strict=True))
    assert {name for name, update in shown.items() if update["visible"]} == {"budget", "placement", "locality"}
    told = search_of(PIVOTAL, 40.0, None, finding.CROP_AUTO, None, 0, True, False, True)
    assert told.extras == Extras(budget=None, placement=True, noise_maps=False, locality=True) and told.steps == 40
    assert box.noise_maps in tabs.edit.follows(tabs.edit.studio.desk(tabs.request))


@pytest.mark.parametrize("title", [W, PIVOTAL])
def test_a_placement_is_found_and_kept(studio: Studio, photo: Path, title: str) -> None:
    desk = studio.desks.of("a")
    finding.read(studio, desk, photo)
    search = finding.Search(method=title, steps=2, crop=finding.CROP_CENTRE, extras=Extras(placement=True))
    *_, piece = finding.find(studio, desk, 0, search)
    assert isinstance(piece, Piece) and piece.transform is not None
    kept = finding.kept_piece(studio, desk, 0, search)
    assert kept is not None and kept.transform is not None
