"""The sample bank: labelled once, kept through whatever ends it, and never used for another generator or scorer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from linear_generator import LinearGenerator

from directions import attributes, bank
from directions.attributes import Scorer
from directions.bank import SampleBank, labelled
from editkit.errors import DirectionError, GeneratorMismatchError, SchemaError
from editkit.tensorfile import write_tensors

G = LinearGenerator()
ROOT = Path(__file__).resolve().parents[1]


def counting(name="red", **options):
    """A scorer that counts the pictures it sees."""
    seen = []

    def measure(images):
        seen.append(len(images))
        return images[:, 0].mean((1, 2))

    return Scorer(name=name, unit="", measure=measure, **options), seen


RED, _ = counting()


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(bank, "bundled_bank", lambda generator: tmp_path / "bundled" / f"{generator[:12]}.safetensors")


def test_scores_are_those_of_the_seeds():
    found = labelled(G, [RED], samples=40, seed=7, batch=16)
    assert len(found) == 40 and found.generator == G.spec.id and found.seed == 7
    pictures = G.synthesize(found.latents(G))
    assert torch.allclose(found.scores["red"], pictures[:, 0].mean((1, 2)))
    assert torch.equal(labelled(G, [RED], samples=40, seed=7, batch=3).scores["red"], found.scores["red"])


def test_what_is_known_is_not_rendered_again():
    scorer, seen = counting()
    labelled(G, [scorer], samples=50)
    assert sum(seen) == 50
    labelled(G, [scorer], samples=50)
    assert len(labelled(G, [scorer], samples=20)) == 20
    assert sum(seen) == 50
    steps = []
    labelled(G, [scorer], samples=80, on_progress=lambda *step: steps.append(step))
    assert sum(seen) == 80 and steps[0] > (50, 80) and steps[-1] == (80, 80)
    other, looked = counting("blue")
    both = labelled(G, [scorer, other], samples=80)
    assert sum(seen) == 80 and sum(looked) == 80 and len(both) == 80


def test_a_scorer_that_changed_is_asked_again():
    labelled(G, [counting(description="first")[0]], samples=30)
    changed, looked = counting(description="second")
    labelled(G, [changed], samples=10)
    assert sum(looked) == 10
    kept = SampleBank.load(bank.user_bank(G.spec.id))
    assert kept.identities["red"] == changed.identity and len(kept) == 10


def test_scores_of_others_stay_in_the_file():
    labelled(G, [RED], samples=30)
    labelled(G, [counting("blue")[0]], samples=10)
    kept = SampleBank.load(bank.user_bank(G.spec.id))
    assert {name: len(values) for name, values in kept.scores.items()} == {"red": 30, "blue": 10} and len(kept) == 10


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_keeps_what_was_labelled(error):
    def stop(done, total):
        if done >= 48:
            raise error

    with pytest.raises(error):
        labelled(G, [RED], samples=100, batch=16, on_progress=stop)
    assert len(SampleBank.load(bank.user_bank(G.spec.id))) == 48
    scorer, seen = counting()
    again = labelled(G, [scorer], samples=100)
    assert sum(seen) == 52
    fresh = labelled(G, [RED], samples=100, path=bank.user_bank(G.spec.id).with_name("fresh"))
    assert torch.allclose(again.scores["red"], fresh.scores["red"])


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from linear_generator import LinearGenerator
from directions.attributes import Scorer
from directions.bank import labelled
red = Scorer(name="red", unit="", measure=lambda images: images[:, 0].mean((1, 2)))
labelled(LinearGenerator(), [red], samples=10**7, batch=64, path=Path(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed_leaves_a_whole_file(tmp_path, sign):
    path = tmp_path / "bank.safetensors"
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), str(ROOT / "tests")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background inherits "ignore"
    )  # fmt: skip
    try:
        for _ in range(600):
            if path.is_file():
                break
            time.sleep(0.1)
    finally:
        worker.send_signal(sign)
        try:
            worker.wait(timeout=60)
        finally:
            worker.kill()
    kept = SampleBank.load(path)
    assert len(kept) >= 256
    scorer, seen = counting()
    again = labelled(G, [scorer], samples=len(kept) + 10, path=path)
    assert sum(seen) == 10 and torch.isfinite(again.scores["red"]).all()


def test_the_bank_that_comes_with_the_package_is_used_and_left_alone():
    scorer, seen = counting()
    shipped = bank.bundled_bank(G.spec.id)
    shipped.parent.mkdir()
    labelled(G, [RED], samples=60).save(shipped, dtype=torch.float16)
    bank.user_bank(G.spec.id).unlink()
    before = shipped.read_bytes()
    found = labelled(G, [scorer], samples=60)
    assert not seen and len(found) == 60 and not bank.user_bank(G.spec.id).exists()
    labelled(G, [scorer], samples=70)
    assert sum(seen) == 10 and shipped.read_bytes() == before
    assert len(SampleBank.load(bank.user_bank(G.spec.id))) == 70
    labelled(G, [scorer], samples=5, seed=1)  # other seeds: a file of their own
    assert sum(seen) == 15 and len(SampleBank.load(bank.user_bank(G.spec.id))) == 70


def test_a_bank_of_other_seeds_or_another_generator_is_refused(tmp_path):
    path = tmp_path / "mine.safetensors"
    found = labelled(G, [RED], samples=20, seed=5, path=path)
    with pytest.raises(DirectionError, match="seed 0 and from seed 5"):
        labelled(G, [RED], samples=20, path=path)
    other = LinearGenerator(name="other")
    with pytest.raises(GeneratorMismatchError, match=f"{G.spec.id[:12]}.*{other.spec.id[:12]}"):
        labelled(other, [RED], samples=20, seed=5, path=path)
    with pytest.raises(GeneratorMismatchError):
        found.latents(other)
    with pytest.raises(GeneratorMismatchError):
        found.merged(replace(found, generator=other.spec.id))
    with pytest.raises(DirectionError, match="seed 5 and from seed 6"):
        found.merged(replace(found, seed=6))


def test_merging_takes_the_longer_score():
    short = labelled(G, [RED], samples=20)
    long = labelled(G, [RED], samples=30)
    assert len(short.merged(long)) == len(long.merged(short)) == 30


def test_nan_is_refused_and_what_was_good_is_kept():
    def measure(images):
        scores = images[:, 0].mean((1, 2))
        scores[G.batches.count(16) > 3 :] = float("nan") if G.batches.count(16) > 3 else 0.0
        return scores

    G.batches.clear()
    with pytest.raises(DirectionError, match="'broken' gives NaN"):
        labelled(G, [Scorer(name="broken", unit="", measure=measure)], samples=160, batch=16)
    assert len(SampleBank.load(bank.user_bank(G.spec.id))) == 48


@pytest.mark.parametrize("options", [{"samples": 0}, {"scorers": []}])
def test_wrong_numbers(options):
    with pytest.raises(DirectionError):
        labelled(G, **{"scorers": [RED], "samples": 10, **options})


def write(path, tensors=None, **header):
    whole = {"generator": G.spec.id, "seed": 0, "identities": {"red": "x"}, **header}
    kind, schema = whole.pop("kind", "sample bank"), whole.pop("schema", 1)
    write_tensors(path, tensors or {"red": torch.ones(4)}, kind=kind, schema=schema, header=whole)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"tensors": {"red": torch.ones(4, 2)}}, DirectionError, "one a sample"),
        ({"tensors": {"red": torch.ones(4, dtype=torch.int64)}}, DirectionError, "floating point"),
        ({"tensors": {"red": torch.tensor([1.0, float("nan")])}}, DirectionError, "NaN"),
        ({"seed": -1}, DirectionError, "from 0 on"),
        ({"seed": True}, DirectionError, "from 0 on"),
        ({"generator": 3}, DirectionError, "generator"),
        ({"identities": []}, DirectionError, "scorers"),
        ({"identities": {}}, DirectionError, "which scorer gave 'red'"),
        ({"kind": "latent"}, DirectionError, "sample bank is needed"),
        ({"schema": 2}, SchemaError, "newer"),
    ],
)
def test_wrong_files(tmp_path, wrong, error, words):
    path = tmp_path / "bank.safetensors"
    write(path, **wrong)
    with pytest.raises(error, match=words):
        SampleBank.load(path)
    if error is DirectionError:
        with pytest.raises(DirectionError, match="remove it"):
            labelled(G, [RED], samples=4, path=path)


def test_pickles_and_plain_tensors_are_not_banks(tmp_path):
    path = tmp_path / "bank.safetensors"
    torch.save({"red": torch.ones(4)}, path)
    with pytest.raises(DirectionError, match="not a readable safetensors file"):
        SampleBank.load(path)
    safetensors.torch.save_file({"red": torch.ones(4)}, path)
    with pytest.raises(DirectionError, match="without an editkit header"):
        SampleBank.load(path)
    with pytest.raises(DirectionError, match="no such file"):
        SampleBank.load(tmp_path / "none")


def test_faces_are_looked_at_once(monkeypatch):
    looked = []
    real = attributes.face_attributes
    monkeypatch.setattr(attributes, "face_attributes", lambda images: looked.append(len(images)) or real(images))
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    found = attributes.label(pictures, [attributes.age(), attributes.yaw(), attributes.scorer("warmth")])
    assert looked == [2] and torch.allclose(found["yaw"], attributes.yaw()(pictures).double(), atol=1e-6)
    assert attributes.age().identity != attributes.yaw().identity == attributes.yaw().identity
