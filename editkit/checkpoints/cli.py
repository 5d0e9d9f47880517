"""The commands ``editkit convert`` and ``editkit info``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from editkit.checkpoints.header import ALIGNMENTS
from editkit.command import Output, add_command
from editkit.errors import UsageError


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``convert``."""
    parser = add_command(
        subparsers,
        "convert",
        "turn an official .pkl into a checkpoint that is safe to share",
        description="Turn an official StyleGAN .pkl into a .safetensors checkpoint. Nothing in the pickle is executed.",
        examples=[
            ("editkit convert stylegan3-t-ffhq.pkl --alignment ffhq --domain faces", "faces, cropped as FFHQ"),
            ("editkit convert afhq.pkl --out cats.safetensors --name cats --half", "float16 weights, half the size"),
            ("editkit convert snapshot.pkl --network D --out d.safetensors", "the discriminator of a training run"),
        ],
    )
    parser.add_argument("pickle", metavar="IN.pkl", type=Path, help="an official .pkl")
    parser.add_argument("--out", metavar="FILE", type=Path, help="what to write; default: IN.safetensors")
    parser.add_argument("--network", choices=("G_ema", "G", "D"), default="G_ema", help="which; default: G_ema")
    parser.add_argument("--name", help="what to call it; default: the file's name")
    parser.add_argument("--domain", help="what it shows, such as faces")
    parser.add_argument("--alignment", choices=ALIGNMENTS, help="the crop it expects; default: as published, or centre")
    parser.add_argument("--licence", help="the terms the weights come under")
    parser.add_argument("--class-names", metavar="FILE", type=Path, help="names of the classes, one a line")
    parser.add_argument("--half", action="store_true", help="store weights as float16")
    parser.set_defaults(run=run_convert)


def register_info(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``info``."""
    parser = add_command(
        subparsers,
        "info",
        "say what a weights file holds",
        description="Say what a checkpoint (.safetensors) or an official .pkl holds. Nothing in a pickle is executed.",
        examples=[
            ("editkit info cats.safetensors", "kind, resolution, licence, id"),
            ("editkit info stylegan3-t-ffhq.pkl --json", "the networks in a pickle, for a program"),
        ],
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="a .safetensors checkpoint or an official .pkl")
    parser.set_defaults(run=run_info)


def run_convert(args: argparse.Namespace) -> int:
    from editkit.checkpoints.convert import convert_official

    out = args.out or args.pickle.with_suffix(".safetensors")
    with Output(args) as output:
        header = convert_official(
            args.pickle,
            out,
            network=args.network,
            name=args.name,
            domain=args.domain,
            alignment=args.alignment,
            licence=args.licence,
            half=args.half,
            class_names=None if args.class_names is None else _lines(args.class_names),
        )
        output.say(f"wrote {out} ({out.stat().st_size / 1e6:,.1f} MB): {_summary(header)}")
        known = header["domain"] != args.domain  # then the catalogue has said it
        if args.alignment is None and header["kind"] != "discriminator" and not known:
            output.say("alignment: centre, a guess; a generator of faces needs --alignment ffhq or faces128")
        if header["licence"] is None:
            output.say("licence: unknown; --licence records the terms the weights come under")
        output.put("path", out)
        output.put("header", header)
    return 0


def run_info(args: argparse.Namespace) -> int:
    from editkit.checkpoints.header import read_header
    from editkit.checkpoints.sniff import file_size, is_pickle, read_head

    file_size(args.file)
    with Output(args) as output:
        if is_pickle(read_head(args.file)):
            _show_pickle(args.file, output)
        else:
            header = read_header(args.file)
            output.say(f"{args.file}: {_summary(header)}")
            for field in ("name", "domain", "alignment", "licence", "id", "parent_id", "written_by"):
                if header[field]:
                    output.say(f"  {field:<10} {_shown(header[field])}")
            if header["class_names"]:
                output.say(f"  {'classes':<10} {_shown(', '.join(header['class_names']))}")
            if header["labels"]:
                output.say(f"  {'labels':<10} {_shown(header['labels'])}")
            for field in ("arguments", "training"):
                for key, value in header[field].items():
                    output.say(f"  {field:<10} {_shown(key)} = {_shown(value)}")
            output.put("path", args.file)
            output.put("header", header)
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the names in {path}: {error}") from error


def _show_pickle(path: Path, output: Output) -> None:
    from editkit.checkpoints.official import describe_official

    networks = describe_official(path)
    output.say(f"{path}: an official pickle with {', '.join(networks)}")
    described: dict[str, Any] = {}
    for name, network in networks.items():
        count = sum(math.prod(shape) for shape in network.shapes.values())
        output.say(f"  {name}: {_summary({'kind': network.kind, 'arguments': network.arguments})}, {count:,} numbers")
        for key, value in network.arguments.items():
            output.say(f"    {_shown(key)} = {_shown(value)}")
        described[name] = {
            "kind": network.kind,
            "arguments": network.arguments,
            "tensors": len(network.shapes),
            "numbers": count,
            "facts": network.facts,
        }
    output.put("path", path)
    output.put("networks", described)


def _summary(header: dict[str, Any]) -> str:
    resolution = header["arguments"].get("img_resolution")
    size = f", {resolution}x{resolution}" if isinstance(resolution, int) else ""
    return f"{header['kind']}{size}"


def _shown(value: object) -> str:
    """Text from a file on one short line, without control characters that could drive a terminal."""
    text = "".join(character if character.isprintable() else "?" for character in str(value))
    return text if len(text) <= 200 else f"{text[:197]}..."
