"""Starts the web page, as ``editkit app`` does: ``python app.py --port 8000``."""

import sys

from editkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["app", *sys.argv[1:]]))
