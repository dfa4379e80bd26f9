"""Messages of long computations: where they are, and what they have when Ctrl-C ends them."""

from collections.abc import Callable
from math import inf
from typing import Self

from graphprune.number_text import number_text

Progress = Callable[[str], None]


def quiet(message: str) -> None:
    """Say nothing."""


class Interval(str):
    """A message of a search for a distance that says what is proven and what is known by now.

    Attributes
    ----------
    doing
        Step of the search; the whole text has the numbers too.
    proven, known
        The ends of the interval; `known` is inf where no adversarial point is known.
    """

    doing: str
    proven: float
    known: float

    def __new__(cls, doing: str, lower: float, upper: float) -> Self:
        gap = gap_of(lower, upper)
        share = "?" if gap is None else f"{100.0 * gap:.2f} %"
        ends = f"lower {number_text(lower)}, upper {number_text(upper)}"
        made = super().__new__(cls, f"{doing}: {ends}, gap {share}")
        made.doing, made.proven, made.known = doing, lower, upper
        return made

    def __getnewargs__(self) -> tuple[str, float, float]:  # type: ignore[override]
        return self.doing, self.proven, self.known


def gap_of(lower: float, upper: float) -> float | None:
    """The share of the upper end that is not proven; None where nothing is known above."""
    return 1.0 - lower / upper if 0.0 < upper < inf else None


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
