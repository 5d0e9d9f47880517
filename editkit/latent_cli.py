"""``editkit latent``: latents of other programs in, ours out, and what a file of them holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editkit.command import Output, add_action, add_command

if TYPE_CHECKING:
    from editkit.latent import Latent


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``latent`` and its actions."""
    parser = add_command(
        subparsers,
        "latent",
        "bring latents in from other programs, and out to them",
        description="Bring latents in from other programs, and out to them: projected_w.npz of the official\n"
        "projector, .npy, .npz, and .pt of encoders. Objects in such files are refused, never loaded.",
        examples=[
            ("editkit latent show projected_w.npz", "which arrays it holds"),
            ("editkit latent import projected_w.npz --generator G.pkl --out me.safetensors", "as a latent of that G"),
            ("editkit latent export me.safetensors --out projected_w.npz", "for the official scripts"),
        ],
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    bring = add_action(
        actions,
        "import",
        "read codes of another program as a latent of a generator",
        run_import,
        examples=[
            (
                "editkit latent import projected_w.npz --generator G.pkl --out me.safetensors",
                "W+ or W as found",
            ),
            ("editkit latent import e4e.pt --generator G.pkl --space w+ --out me.safetensors", "an encoder's, in w+"),
            ("editkit latent import z.npy --space z --out z.safetensors", "z codes for the bundled generator"),
        ],
    )
    bring.add_argument("file", metavar="FILE", type=Path, help=".npz, .npy, .pt, .pth or .safetensors")
    bring.add_argument("--out", metavar="FILE", type=Path, required=True, help="the .safetensors to write")
    bring.add_argument(
        "--generator", metavar="SOURCE", help="a name, a .safetensors or an official .pkl (default: the bundled one)"
    )
    bring.add_argument("--space", choices=("z", "w", "w+", "s"), help="default: w for [N, w_dim], else what fits")
    bring.add_argument("--key", metavar="NAME", help="the array to take, where the file has several")
    send = add_action(
        actions,
        "export",
        "write a latent for other programs",
        run_export,
        examples=[
            ("editkit latent export me.safetensors --out projected_w.npz", "as the official projector writes it"),
            ("editkit latent export out/me/latent.safetensors --out me.pt", "the tensor alone, [N, num_ws, w_dim]"),
        ],
    )
    send.add_argument("file", metavar="FILE", type=Path, help="a latent.safetensors")
    send.add_argument("--out", metavar="FILE", type=Path, required=True, help=".npz, .npy or .pt, by its suffix")
    show = add_action(
        actions,
        "show",
        "say what a file of latents holds",
        run_show,
        examples=[("editkit latent show out/me/latent.safetensors --json", "as JSON")],
    )
    show.add_argument("file", metavar="FILE", type=Path, help=".npz, .npy, .pt, .pth or .safetensors")


def run_import(args: argparse.Namespace) -> int:
    from editkit.errors import UsageError
    from editkit.generator import load_generator
    from editkit.latent_exchange import read_exchange

    if args.out.suffix.lower() != ".safetensors":
        raise UsageError(f"a latent is kept as .safetensors, got {args.out.name!r}; give --out another suffix")
    spec = load_generator(args.generator, device="cpu").spec
    held = read_exchange(args.file, spec, space=args.space, key=args.key)
    held.latent.save(args.out, transform=held.transform, alignment=held.alignment)
    with Output(args) as output:
        output.say(f"wrote {args.out}: {_summary(held.latent)}, for {spec.name}")
        output.put("path", args.out)
        output.put("generator", {"id": spec.id, "name": spec.name})
        output.put("latent", _facts(held.latent))
    return 0


def run_export(args: argparse.Namespace) -> int:
    from editkit.latent_exchange import export_latent
    from editkit.latent_file import read_latent

    held = read_latent(args.file)
    export_latent(held.latent, args.out)
    with Output(args) as output:
        output.say(f"wrote {args.out}: {_summary(held.latent)}")
        lost = [name for name in ("transform", "alignment") if getattr(held, name) is not None]
        if lost:
            output.say(f"not kept, such files have no place for it: {' and '.join(lost)}")
        output.put("path", args.out)
        output.put("latent", _facts(held.latent))
        output.put("not_kept", lost)
    return 0


def run_show(args: argparse.Namespace) -> int:
    from editkit.latent_arrays import read_arrays
    from editkit.latent_file import read_latent

    with Output(args) as output:
        output.put("path", args.file)
        if args.file.suffix.lower() == ".safetensors":
            held = read_latent(args.file)
            tensors = held.latent.named_tensors()
            output.say(f"{args.file}: {_summary(held.latent)}")
            output.say(f"  generator  {held.latent.generator}")
            if held.latent.parent:
                output.say(f"  parent     {held.latent.parent}")
            kept = [name for name in ("transform", "alignment") if getattr(held, name) is not None]
            output.say(f"  beside it  {' and '.join(kept) or 'nothing'}")
            output.put("latent", _facts(held.latent))
            output.put("beside", kept)
        else:
            tensors = read_arrays(args.file)
            output.say(f"{args.file}: {len(tensors)} array{'s' if len(tensors) > 1 else ''}")
        arrays = {}
        for name, tensor in tensors.items():
            low, high = float(tensor.min()), float(tensor.max())
            rows = tensor.ndim == 3 and tensor.shape[1] > 1 and bool((tensor == tensor[:, :1]).all())
            what = ", equal rows" if rows else ""
            shown = "".join(character if character.isprintable() else "?" for character in name[:80]) or "array"
            output.say(f"  {shown:<10} {list(tensor.shape)}, {low:.4g} to {high:.4g}{what}")
            arrays[name] = {"shape": list(tensor.shape), "min": low, "max": high, "equal_rows": rows}
        output.put("arrays", arrays)
    return 0


def _summary(latent: Latent) -> str:
    count = f"{len(latent)} code{'s' if len(latent) > 1 else ''} in {latent.space}"
    return count if latent.space == "s" else f"{count}, {list(latent.tensor.shape)}"


def _facts(latent: Latent) -> dict[str, Any]:
    shapes = {name: list(codes.shape) for name, codes in latent.named_tensors().items()}
    return {"space": latent.space, "count": len(latent), "generator": latent.generator, "shapes": shapes}
