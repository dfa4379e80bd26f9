"""The protocol of the engines that compute bounds, and what alpha-CROWN is told."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds.problem import BoundsProblem, Floats, LayerBounds
from graphprune.runtime.resources import Resources

EngineName = Literal["interval", "compact", "graph"]


@dataclass(frozen=True)
class Ascent:
    """The optimisation of a row's linear relaxations by ``alpha-crown``.

    Attributes
    ----------
    steps
        Adam steps per row.
    enough
        A row whose bound is above this is finished.
    """

    steps: int = 20
    enough: float = np.inf


class Engine(Protocol):
    """Computes the pieces of one problem, from the layers that the problem knows by then."""

    name: ClassVar[EngineName]

    def __init__(self, problem: BoundsProblem, resources: Resources, ascent: Ascent) -> None: ...

    @staticmethod
    def suits(problem: BoundsProblem, resources: Resources) -> bool:
        """True where the engine can compute the problem, and is the better choice if it can."""
        ...

    def interval(self, index: int) -> LayerBounds:
        """Interval image of the segment `index` from the bounds of its sources."""
        ...

    def neurons(
        self, index: int, chosen: NDArray[np.bool_], *, until_stable: bool
    ) -> tuple[Floats, Floats]:
        """Relaxation bounds (B, n) of the chosen (B, n) neurons, infinite for the others.

        With `until_stable` the bounds need be no better than what shows a neuron's sign.
        """
        ...

    def rows(self, index: int, rows: Floats) -> Floats:
        """Lower bounds (B, R) of rows (R, n) times the target of a segment."""
        ...
