"""What long computations say: where they are, and what they have when Ctrl-C ends them."""

from collections.abc import Callable

Progress = Callable[[str], None]


def quiet(message: str) -> None:
    """Say nothing."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a search that had found something already.

    Attributes
    ----------
    found
        The search's result so far: valid, and not as good as it would have become.
    """

    def __init__(self, found: object) -> None:
        super().__init__("interrupted")
        self.found = found
