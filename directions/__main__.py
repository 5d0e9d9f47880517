"""``python -m directions``: the same as ``editkit directions``, also on an uninstalled checkout."""

import sys

from editkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["directions", *sys.argv[1:]]))
