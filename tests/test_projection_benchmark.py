"""benchmarks/projection.py on a tiny generator: rows are kept, gone on with, and compared on the same photos."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import projection  # noqa: E402
from editkit.generator import load_generator, random_generator, save_generator  # noqa: E402
from projector import Optimise, Refine  # noqa: E402


def test_rows_are_kept_and_compared_on_shared_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out, page = tmp_path / "photos", tmp_path / "out", tmp_path / "page.md"
    photos.mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{index}.png")
    save_generator(random_generator(resolution=16, alignment="centre"), tmp_path / "g.safetensors")
    page.write_text(f"before\n{projection.START}\nold\n{projection.END}\nafter\n")
    made: list[str] = []

    def method(name: str, value):
        return lambda: made.append(name) or value

    methods = {
        "yardstick-w+": method("yardstick-w+", projection.Yardstick(space="w+", steps=3)),
        "w+": method("w+", Optimise(steps=2)),
        "refine60": method("refine60", Refine(steps=4)),
    }
    monkeypatch.setattr(projection, "METHODS", methods)
    threads = torch.get_num_threads()

    def run(*more: str) -> str:
        command = ["projection.py", str(photos), "--generator", str(tmp_path / "g.safetensors"), "--out", str(out)]
        monkeypatch.setattr(sys, "argv", [*command, "--batch", "2", "--table", str(page), *more])
        try:
            projection.main()
        finally:
            torch.set_num_threads(threads)
        return capsys.readouterr().out

    run("--methods", "yardstick-w+", "w+", "--limit", "1")
    made.clear()
    run("--methods", "yardstick-w+", "refine60")
    assert made == ["yardstick-w+", "refine60", "yardstick-w+", "refine60"]  # two batches of what was missing
    G = load_generator(tmp_path / "g.safetensors")
    kept = json.loads((out / G.spec.id[:12] / "yardstick-w+.json").read_text())  # another generator's are others
    assert set(kept) == {"0.png", "1.png", "2.png"} and kept["2.png"]["steps"] == 3
    assert len(kept["2.png"]["curve"]) == 3 and kept["2.png"]["seconds"] > 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "Means over 1 photos." in text and text.count("| StyleGAN2's schedule, W+ | 3 |") == 1
    assert all(title in projection.TITLES for title in projection.METHODS)


def test_the_yardstick_comes_nearer() -> None:
    from editkit.perceptual import Bundled

    G = random_generator(resolution=16, output_scale=0.8)
    with torch.no_grad():
        target = G.synthesize(G.map(torch.randn(1, 32, generator=torch.Generator().manual_seed(3))))
    found = projection.Yardstick(space="w", steps=60).find(G, target, perceptual=Bundled())
    losses = [step.losses["loss"] for step in found.history]
    assert losses[-1] < 0.5 * losses[0]
    assert torch.equal(found.latent.tensor, found.latent.tensor[:, :1].expand_as(found.latent.tensor))
