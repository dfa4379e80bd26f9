"""``warm``: everything compiled ahead, for images of containers and for the first minute."""

from functools import cache

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def warm() -> None:
        """Compile the kernels now, so that the first run does not wait for them."""
        from time import monotonic

        from graphprune.evaluate.warm import warm_up, warm_verify

        start, say = monotonic(), cache(_say)
        warm_up(say)
        warm_verify(say)
        print(f"kernels are ready ({monotonic() - start:.0f} s)")


def _say(text: str) -> None:
    print(text, flush=True)
