"""The command line: one file per command."""

import os
import sys


def main() -> None:
    """Entry point: every failure people can mend is one message and exit code 2."""
    from graphprune.cli.app import app, run

    if "_GRAPHPRUNE_COMPLETE" in os.environ:  # a shell asks what may come next
        app(prog_name="graphprune")
    sys.exit(run(sys.argv[1:]))
