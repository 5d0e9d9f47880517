"""What goes wrong in a training run: weights that are not finite, pictures that are broken, other options."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_pictures import write_toys

from editkit.cli import build_parser
from editkit.errors import OutputError, TrainingDataError, UsageError
from train.augment import PRESETS
from train.config import TrainConfig
from train.dataset import Batch, open_dataset
from train.presets import preset
from train.run import RunOptions, run
from train.run_cli import AUGMENTATIONS
from train.run_plan import check_same, make_config, measure_plan, read_frozen
from train.snapshots import Folder
from train.state_file import load_state
from train.training import Training

OPTIONS: dict[str, Any] = {"metric": "none", "report_steps": 1, "workers": 0}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toys(tmp_path_factory.mktemp("data") / "toys", count=16)


def small(**changes: Any) -> Training:
    narrow = {"channel_base": 256, "channel_max": 8}
    return Training(
        preset("tiny", resolution=16, batch=4, generator=narrow, discriminator=narrow, **{"micro_batch": 4} | changes)
    )


def test_after_poison_it_goes_back_and_the_log_with_it(toys: Path, tmp_path: Path) -> None:
    """The generator is spoilt at the fourth step; the snapshot before is of two."""
    training, steps = small(), 0
    real = training.step

    def step(pictures: Batch) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == 4:
            for parameter in training.generator.parameters():
                parameter.data.fill_(float("nan"))
        return real(pictures)

    training.step = step  # type: ignore[method-assign]
    folder = Folder(tmp_path)
    ended = run(training, open_dataset(toys), folder, RunOptions(images=20, snapshot_images=8, **OPTIONS))
    assert (ended.why, ended.seen, training.rollbacks, steps) == ("done", 20, 1, 7)
    assert all(bool(p.isfinite().all()) for p in [*training.generator.parameters(), *training.average.parameters()])
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [4, 8, 12, 16, 20]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_is_named_after_a_snapshot(toys: Path, tmp_path: Path, workers: int) -> None:
    """Of a data set that memory does not keep; its header is in order."""
    data = write_toys(tmp_path / "data", count=12)
    dataset = open_dataset(data, cache="none")
    training, out = small(), tmp_path / "out"
    order = list(np.random.default_rng([0, 0, 0]).permutation(12))  # as train.dataset_loader draws it
    broken = data / f"{order[9]:04d}.png"
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(TrainingDataError) as caught:
        run(training, dataset, Folder(out), RunOptions(images=80, **OPTIONS | {"workers": workers}))
    text = str(caught.value)
    assert text.startswith(broken.name) or broken.name in text
    assert "`editkit dataset check` finds all" in text and "Traceback" not in text and "\n" not in text
    assert load_state(out / "state.safetensors")["seen"] == training.seen == 8
    assert not multiprocessing.active_children()  # though the error's traceback still refers to the run


def test_a_log_that_cannot_be_shortened_is_kept_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Folder(tmp_path)
    for seen in (8, 16, 24):
        folder.note({"images": seen})
    before = (tmp_path / "log.jsonl").read_text()

    def full(path: Path, text: str) -> None:
        raise OutputError(f"{path}: no space left")

    with monkeypatch.context() as patch:
        patch.setattr("train.snapshots.write_text", full)
        folder.forget_after(8)
    assert (tmp_path / "log.jsonl").read_text() == before and "no space left" in caplog.text
    folder.forget_after(8)
    assert (tmp_path / "log.jsonl").read_text() == '{"images": 8}\n'


def test_what_augmentation_does_can_be_chosen(toys: Path) -> None:
    assert AUGMENTATIONS == PRESETS
    parser = build_parser()
    dataset = open_dataset(toys)

    def config(*options: str) -> TrainConfig:
        args = parser.parse_args(["train", "--data", str(toys), "--out", "no", "--recipe", "tiny", *options])
        return make_config(args, dataset, read_frozen(args, dataset), begun=None, grow=False)

    made = config("--augment", "ada", "--augment-preset", "bgcfnc", "--ada-target", "0.5", "--ada-kimg", "50")
    assert (made.augment_preset, made.target, made.speed_kimg) == ("bgcfnc", 0.5, 50.0)
    plain = config()
    assert (plain.augment_preset, plain.target, plain.speed_kimg) == ("bgc", 0.6, 500.0)
    with pytest.raises(UsageError, match="--augment-preset is of --augment ada or fixed, which is diff here"):
        config("--augment", "diff", "--augment-preset", "bg")
    with pytest.raises(UsageError, match="are of --augment ada, which is fixed here"):
        config("--augment", "fixed", "--strength", "0.5", "--ada-target", "0.5")


def test_differences_are_named_by_their_leaves_and_options() -> None:
    kept = preset("tiny", resolution=16, batch=8, data="a")
    now = preset("tiny", resolution=16, batch=8, data="b", gamma=7.0, generator={"mapping_kwargs": {"num_layers": 3}})
    with pytest.raises(UsageError) as caught:
        check_same(kept, now, Path("out"))
    text = str(caught.value)
    assert "gamma: 1.0 and now 7.0 (--gamma); generator.mapping_kwargs.num_layers: 2 and now 3; give" in text
    assert "data: other pictures, or other options of them (--mirror, --cond," in text and "{" not in text
    frozen = preset("tiny", resolution=16, batch=8, data="a", discriminator={"block_kwargs": {"freeze_layers": 2}})
    with pytest.raises(UsageError, match="freeze"):
        check_same(kept, frozen, Path("out"))
    with pytest.raises(UsageError, match=r"recipe: 'tiny' and now 'stylegan2' \(--recipe\).* more that follow"):
        check_same(kept, preset("stylegan2", resolution=16, batch=8, data="a"), Path("out"))
    check_same(kept, preset("tiny", resolution=16, batch=8, data="a", micro_batch=4), Path("out"))


def test_a_dry_run_weighs_each_kind_of_step(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path lengths every 2 steps and penalties every 4: of four steps one has both, one has path lengths, two none."""
    training = small(path_length=2.0, path_every=2, penalty_every=4, path_from=100)
    clock, cost, seen = [0.0], {0: 10.0, 2: 4.0, 1: 1.0, 3: 1.0}, []

    def step(pictures: Batch) -> dict[str, float]:
        seen.append(training.seen)
        clock[0] += cost[training.seen // 4 % 4]
        return {}

    said: list[str] = []
    numbers: dict[str, float] = {}
    training.step = step  # type: ignore[method-assign]
    monkeypatch.setattr("train.run_plan.time.monotonic", lambda: clock[0])
    output: Any = type(
        "Output", (), {"say": lambda _, text: said.append(text), "put": lambda _, k, v: numbers.update({k: v})}
    )()
    measure_plan(output, training, open_dataset(toys), kimg=0.5)
    assert numbers["seconds_per_kimg"] == pytest.approx((10 + 4 + 1 + 1) / 4 / 4 * 1000)
    assert seen == [112, 112, 116, 120]  # after path_from; the first is not timed
    assert "1,000 s for a thousand images, 8 min for 0.5 thousand, without snapshots and metrics" in said[0]
