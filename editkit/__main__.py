"""``python -m editkit``: the ``editkit`` command on an uninstalled checkout."""

from editkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
