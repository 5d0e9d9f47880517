"""Classes by index, name or dense values; drawn for each seed; taken by everything that samples."""

from types import SimpleNamespace

import pytest
import torch

from directions import ganspace, score
from editkit.errors import UsageError
from editkit.generator import random_generator
from editkit.labels import class_index, label_tensor, labels_for_seeds, seeded_classes
from editkit.sampling import sample_w
from editkit.seeds import z_from_seeds
from projector.statistics import sample_statistics

SPEC = SimpleNamespace(name="pets", c_dim=3, class_names=("cat", "Dog", "cat fish"))
NAMELESS = SimpleNamespace(name="numbers", c_dim=3)
PLAIN = SimpleNamespace(name="faces", c_dim=0)


@pytest.fixture(scope="module")
def G():
    return random_generator(c_dim=3, resolution=16)


@pytest.mark.parametrize("classes", [1, "1", " 1 ", "Dog", "DOG", [1], ["dog"], torch.tensor([1]), [0.0, 1.0, 0.0]])
def test_one_class_goes_with_any_number(classes):
    assert torch.equal(label_tensor(SPEC, classes, count=2), torch.tensor([[0.0, 1, 0], [0, 1, 0]]))


def test_a_class_a_sample():
    assert torch.equal(label_tensor(SPEC, ["cat fish", 0], count=2), torch.tensor([[0.0, 0, 1], [1, 0, 0]]))


def test_dense_values():
    assert torch.equal(label_tensor(SPEC, (0.25, 0.75, 0.0), count=1), torch.tensor([[0.25, 0.75, 0]]))
    rows = torch.rand(2, 3)
    assert torch.equal(label_tensor(SPEC, rows, count=2), rows)


@pytest.mark.parametrize(
    ("spec", "classes", "message"),
    [
        (PLAIN, 0, "has no classes"),
        (SPEC, 3, "classes 0 to 2, got 3"),
        (SPEC, "-1", "classes 0 to 2, got -1"),
        (SPEC, "bird", "no class 'bird'; it has cat, Dog, cat fish"),
        (NAMELESS, "cat", "names no classes; give an index from 0 to 2"),
        (SPEC, [0, 1, 2], "3 classes do not go with 2 samples"),
        (SPEC, [], "a class is an index"),
        (SPEC, None, "a class is an index"),
        (SPEC, True, "no class 'True'|no class True"),
        (SPEC, [0.5, 0.5], r"dense labels of 'pets' are \[3\]"),
        (SPEC, [0.5, "cat", 0.1], "dense label values are numbers"),
        (SPEC, torch.rand(3, 3), "dense labels"),
        (SPEC, [0.5, float("nan"), 0.5], "finite"),
    ],
)
def test_bad_classes(spec, classes, message):
    with pytest.raises(UsageError, match=message):
        label_tensor(spec, classes, count=2)


def test_text_with_commas_is_a_name_or_classes_one_a_sample():
    spec = SimpleNamespace(name="fish", c_dim=3, class_names=("tench, Tinca tinca", "goldfish", "ray"))
    assert label_tensor(spec, "Tench, tinca tinca", count=2).argmax(1).tolist() == [0, 0]
    assert label_tensor(spec, "ray, goldfish", count=2).argmax(1).tolist() == [2, 1]
    assert label_tensor(spec, "0,ray", count=2).argmax(1).tolist() == [0, 2]
    with pytest.raises(UsageError, match="no class 'Tinca tinca'"):
        label_tensor(spec, "ray, Tinca tinca", count=2)


def test_a_name_that_two_classes_have():
    with pytest.raises(UsageError, match=r"2 classes named 'crane'; give an index: \[0, 1\]"):
        class_index(SimpleNamespace(name="birds", c_dim=2, class_names=("crane", "Crane")), "crane")


def test_the_class_of_a_seed_is_always_the_same_and_evenly_spread():
    drawn = seeded_classes(SPEC, range(3000))
    assert drawn[7:9] == seeded_classes(SPEC, [7, 8])
    assert drawn[:10] == (2, 0, 2, 0, 2, 1, 2, 0, 0, 0)  # for good: files are found again by their seed
    assert all(900 < drawn.count(index) < 1100 for index in range(3))
    assert seeded_classes(PLAIN, [0]) == () and labels_for_seeds(PLAIN, [0]) is None


def test_samples_take_the_class_and_draw_it_otherwise(G):
    seeds = [0, 1, 2]
    drawn = sample_w(G, seeds).tensor
    z = z_from_seeds(seeds, G.spec.z_dim)
    assert torch.allclose(drawn, G.map(z, label=labels_for_seeds(G.spec, seeds)).tensor)
    assert torch.allclose(drawn[1:2], sample_w(G, [1], classes=seeded_classes(G.spec, [1])[0]).tensor, atol=1e-6)
    assert not torch.allclose(drawn, G.map(z).tensor, atol=1e-3)  # zeros are no class


def test_a_cutoff_out_of_range(G):
    with pytest.raises(UsageError, match="truncation_cutoff is 0 to"):
        sample_w(G, [0], truncation_psi=0.5, truncation_cutoff=G.spec.num_ws + 1)


def test_statistics_and_components_are_of_the_class(G):
    """Zero labels would give the same mean for every class."""
    seeds = range(200)
    of_one = sample_w(G, seeds, classes=1).tensor[:, 0].double()
    of_all = sample_w(G, seeds).tensor[:, 0].double()
    found = ganspace.components(G, samples=200, count=1, classes=1)
    assert torch.allclose(found.mean, of_one.mean(0), atol=1e-5)
    assert torch.allclose(ganspace.components(G, samples=200, count=1).mean, of_all.mean(0), atol=1e-5)
    assert torch.equal(score.sample_latents(G, samples=3, classes=1).tensor, sample_w(G, range(3), classes=1).tensor)
    one, both = (sample_statistics(G, samples=600, classes=classes).mean for classes in (1, None))
    spread = of_all.std(0).mean()
    assert (one - of_one.mean(0)).abs().mean() < 0.15 * spread < 0.3 * spread < (one - both).abs().mean()


def test_directions_find_takes_the_class(G):
    method = ganspace.GanSpace(count=1, samples=100, classes=2)
    expected = ganspace.components(G, samples=100, count=1, classes=2)
    assert torch.allclose(method.find(G)[0].vector, (expected.deviations[0] * expected.vectors[0]).float())
