"""Train the networks that editkit uses: generators, and the small ones that are bundled with it.

Nothing imports this package; it imports the others. ``editkit train --help`` is the way in.
"""
