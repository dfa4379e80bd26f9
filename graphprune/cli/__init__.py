"""The command line: one file per command."""

import sys


def main() -> None:
    """Entry point: every failure people can mend is one message and exit code 2."""
    from graphprune.cli.app import run

    sys.exit(run(sys.argv[1:]))
