"""``python -m train``: the same as ``editkit train``, also on an uninstalled checkout."""

import sys

from editkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["train", *sys.argv[1:]]))
