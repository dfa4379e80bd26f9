"""How long computations say where they are: plain text through a callback."""

from collections.abc import Callable

Progress = Callable[[str], None]


def quiet(message: str) -> None:
    """Say nothing."""
