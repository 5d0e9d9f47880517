"""``python -m projector``: the same as ``editkit project``, also on an uninstalled checkout."""

import sys

from editkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["project", *sys.argv[1:]]))
