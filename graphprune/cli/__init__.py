"""The command line: one file per command.

In come arguments and a configuration file; out go tables and documents on stdout, progress on
stderr, files, and an exit code. The options of a command are the fields of a dataclass, of which
`parameters.py` makes Typer's parameters. Read `app.py`, `parameters.py` and `evaluate.py` first.
"""

import os
import sys


def main() -> None:
    """Entry point: every failure people can mend is one message and exit code 2."""
    from graphprune.cli.app import app, run

    if "_GRAPHPRUNE_COMPLETE" in os.environ:  # a shell asks what may come next
        app(prog_name="graphprune")
    sys.exit(run(sys.argv[1:]))
