"""Labels from tables and from folders of projected photos; wrong ones are refused."""

from __future__ import annotations

import pytest
import torch
from linear_generator import LinearGenerator

import directions
from directions import Labelled, LinearSVM
from directions.bank import SampleBank
from editkit.errors import DirectionError, GeneratorMismatchError, LatentError, UsageError
from editkit.latent import Latent
from editkit.sampling import sample_w, sample_z

G = LinearGenerator()
OTHER = LinearGenerator(name="other")


def table(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return path


def test_a_table_of_seeds(tmp_path):
    found = Labelled.from_csv(G, table(tmp_path, "seed,smile\n3,0.5\n9,\n4,-1\n"))
    assert found.name == "smile" and found.scores.tolist() == [0.5, -1.0] and "labels.csv, 2 rows" in found.source
    assert torch.equal(found.latents.tensor, sample_w(G, [3, 4]).tensor)


def test_a_sample_that_is_told_twice_counts_once(tmp_path):
    found = Labelled.from_csv(G, table(tmp_path, "seed, smile\n3, 1\n4, 0\n3, 1\n"))
    assert found.name == "smile" and found.scores.tolist() == [1, 0] and "2 rows" in found.source
    with pytest.raises(DirectionError, match="at least 8 of each"):
        text = "seed,smile\n" + "".join(f"{n % 4},{n % 2}\n" for n in range(60))
        LinearSVM(labels=Labelled.from_csv(G, table(tmp_path, text))).find(G)


def test_a_latent_on_both_sides(tmp_path):
    sample_w(G, [0]).save(tmp_path / "latent.safetensors")
    with pytest.raises(DirectionError, match="on both sides, with and without hat"):
        Labelled.from_folders(G, tmp_path, tmp_path, name="hat")


def test_a_table_of_latents_beside_it(tmp_path):
    (tmp_path / "found").mkdir()
    for index in range(2):
        sample_w(G, [index]).as_w_plus().save(tmp_path / "found" / f"{index}.safetensors")
    sample_z(G, [7]).save(tmp_path / "z.safetensors")
    text = "latent,hat,beard\nfound/0.safetensors,1,0\nfound/1.safetensors,0,0\nz.safetensors,0,1\n"
    found = Labelled.from_csv(G, table(tmp_path, text), name="beard")
    assert found.scores.tolist() == [0, 0, 1] and found.binary
    assert torch.equal(found.latents.tensor, sample_w(G, [0, 1, 7]).tensor)


def test_two_folders_of_projected_photos(tmp_path):
    for folder, seeds in (("with", range(12)), ("without", range(20, 40))):
        for seed in seeds:
            place = tmp_path / folder / f"photo{seed}"
            place.mkdir(parents=True)
            sample_w(G, [seed]).as_w_plus().save(place / "latent.safetensors")
            (place / "tuning.safetensors").write_bytes(b"something else")
    found = Labelled.from_folders(G, tmp_path / "with", tmp_path / "without", name="hat")
    assert len(found.latents) == 32 and float(found.scores.sum()) == 12 and found.latents.space == "w+"
    assert "12 latents of with, 20 of without" in found.source
    (made,) = directions.find(G, LinearSVM(labels=found, space="w+"))
    assert made.name == "hat" and made.space == "w+" and made.scores["held_out"] == 10


def test_latents_with_rows_of_their_own_are_not_looked_at_in_w():
    codes = torch.randn(40, 3, 4, generator=torch.Generator().manual_seed(0))
    latents = Latent(space="w+", codes=codes, generator=G.spec.id)
    labels = Labelled(name="x", latents=latents, scores=codes[:, 1, 0], source="")
    with pytest.raises(DirectionError, match="look for a direction in w\\+ or s"):
        LinearSVM(labels=labels, share=0.5).find(G)
    assert LinearSVM(labels=labels, share=0.5, space="w+").find(G)[0].space == "w+"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no labels"),
        ("seed,smile\n", "holds no labels"),
        ("seed\n1\n", "one of numbers"),
        ("name,smile\na,1\n", "'seed' or 'latent'"),
        ("seed,a,b\n1,2,3\n", "one of numbers"),
        ("seed,smile\n1,\n2,\n", "no label in column 'smile'"),
        ("seed,smile\n1,happy\n", "line 2: a label is a number, got 'happy'"),
        ("seed,smile\nx,1\n", "line 2: a seed is an integer, got 'x'"),
        ("seed,smile\n1.5,1\n2,0\n", "a seed is an integer"),
        ("seed,smile\n1,1\n1,0\n", "seed 1 is labelled 1 and 0"),
        ("seed,smile\n1,1\n2,1\n", "all labels of 'smile' are the same"),
        ("seed,smile\n1,nan\n1,nan\n2,1\n", "NaN or infinite"),
        ("seed,smile\n1,inf\n2,1\n", "NaN or infinite"),
        (b"seed,smile\n1,\xff\xfe\n", "cannot read the labels"),
        ("seed,smile\n1,1\n2,0,5\n", "line 3: more cells"),
        ("latent,smile\n,1\n", "line 2: no file in column 'latent'"),
        ("latent,smile\na.safetensors,1\na.safetensors,0\n", "a.safetensors is labelled 1 and 0"),
    ],
)
def test_wrong_tables(tmp_path, text, words):
    with pytest.raises(DirectionError, match=words):
        Labelled.from_csv(G, table(tmp_path, text))


def test_other_wrong_tables(tmp_path):
    with pytest.raises(DirectionError, match="called 'laugh'; it has seed, smile"):
        Labelled.from_csv(G, table(tmp_path, "seed,smile\n1,1\n2,0\n"), name="laugh")
    with pytest.raises(DirectionError, match="cannot read the labels"):
        Labelled.from_csv(G, tmp_path / "none.csv")
    with pytest.raises(UsageError):
        Labelled.from_csv(G, table(tmp_path, "seed,smile\n-1,1\n2,0\n"))
    sample_w(G, [0, 1]).save(tmp_path / "two.safetensors")
    with pytest.raises(LatentError, match="holds 2 latents; a row of labels goes with one"):
        Labelled.from_csv(G, table(tmp_path, "latent,smile\ntwo.safetensors,1\n"))


def test_labels_of_another_generator(tmp_path):
    text = f"seed,smile,generator\n1,1,{G.spec.id[:12]}\n2,0,\n"
    assert len(Labelled.from_csv(G, table(tmp_path, text)).scores) == 2
    with pytest.raises(GeneratorMismatchError, match=f"line 2.*{G.spec.id[:12]}.*{OTHER.spec.id[:12]}"):
        Labelled.from_csv(OTHER, table(tmp_path, text))
    sample_w(OTHER, [0]).save(tmp_path / "theirs.safetensors")
    with pytest.raises(GeneratorMismatchError):
        Labelled.from_csv(G, table(tmp_path, "latent,smile\ntheirs.safetensors,1\n"))
    latents = sample_w(OTHER, range(20))
    labels = Labelled(name="x", latents=latents, scores=latents.tensor[:, 0, 0], source="")
    with pytest.raises(GeneratorMismatchError):
        LinearSVM(labels=labels, share=0.5).find(G)


def test_folders_that_hold_no_latents(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"picture")
    with pytest.raises(DirectionError, match=r"editkit project .*photos --out photos-latents"):
        Labelled.from_folders(G, tmp_path / "photos", tmp_path / "photos", name="x")
    with pytest.raises(DirectionError, match="is not a folder"):
        Labelled.from_folders(G, tmp_path / "none", tmp_path / "photos", name="x")


def test_latents_with_pickled_objects_or_of_the_wrong_shape(tmp_path):
    place = tmp_path / "with"
    place.mkdir()
    torch.save({"w": torch.ones(1, 3, 4)}, place / "latent.safetensors")
    with pytest.raises(LatentError, match="not a readable safetensors file"):
        Labelled.from_folders(G, place, place, name="x")
    sample_w(G, [0]).save(place / "latent.safetensors")
    narrow = Latent(space="w", codes=torch.ones(1, 3, 5), generator=G.spec.id)
    (tmp_path / "without").mkdir()
    narrow.save(tmp_path / "without" / "latent.safetensors")
    with pytest.raises(LatentError, match="got \\[3, 5\\]"):
        Labelled.from_folders(G, place, tmp_path / "without", name="x")


def test_a_score_that_the_bank_lacks():
    bank = SampleBank(generator=G.spec.id, seed=0, scores={"red": torch.rand(9)}, identities={"red": "x"})
    with pytest.raises(DirectionError, match="no score 'blue'; it has red"):
        Labelled.from_bank(G, bank, "blue")
    assert len(Labelled.from_bank(G, bank, "red").latents) == 9
