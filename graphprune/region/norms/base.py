"""A norm: its name, and everything that depends on it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import GraphpruneError
from graphprune.region.norms.graph import HUGE, TINY, Graph, largest

if TYPE_CHECKING:
    import onnx_ir as ir

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WrittenGain:
    """The value (B, R) and the moves (B, R, n) of `Norm.gain`, written into a graph."""

    value: "ir.Value"
    moves: "ir.Value"


class Norm(str, ABC):
    """A norm is its name, with what the name means.

    Results, settings and documents that hold one read, compare and serialise as the name; what
    depends on the norm is a method here, so that no other code compares names. One instance per
    norm, immutable, found through :func:`graphprune.region.norms.norm_of`.

    Attributes
    ----------
    order
        p of the p-norm: at the same radius the ball of a smaller p lies within that of a larger.
    extent
        The largest |x_i| of a point of length one.
    separable
        The ball is a box: every element moves by up to the radius, whatever the others do.
    kernel
        The number of the norm in compiled kernels: 0 for a box, else p of the p-norm. None for a
        norm that they do not know: graphs compute its bounds, and no search its distances.
    certifiable
        The checker of certificates has a norm of this name.
    pace
        Share of the way to the nearest boundary that the first steps of a descent go.
    rounder
        The norm in which descents begin, where those in this one find poor paths from afar.
    """

    __slots__ = ()

    order: ClassVar[float]
    extent: ClassVar[float] = 1.0
    separable: ClassVar[bool] = False
    kernel: ClassVar[int | None] = None
    certifiable: ClassVar[bool] = False
    pace: ClassVar[float] = 0.7
    rounder: ClassVar["Norm | None"] = None

    def __reduce__(self) -> tuple[object, tuple[str]]:
        from graphprune.region.norms.registry import norm_of

        return norm_of, (str(self),)

    def require_compiled(self, what: str) -> None:
        """Refuse a norm that the kernels of the search do not know.

        Raises
        ------
        GraphpruneError
            It names what was asked for, and the norm.
        """
        if self.kernel is None:
            raise GraphpruneError(
                f"{what} needs the norm's form in compiled kernels, and {self} has none: leave"
                f" {what} out, or take another norm"
            )

    def require_certifiable(self) -> None:
        """Refuse a norm that certificates do not know.

        Raises
        ------
        GraphpruneError
            It names the norm.
        """
        if not self.certifiable:
            raise GraphpruneError(
                f"a certificate proves a distance in a norm that the checker knows, and {self} is"
                " none: leave one of them out"
            )

    def lengths(self, steps: NDArray[np.floating]) -> Floats:
        """Norms (N,) of steps (N, ...) in float64."""
        return self._lengths(_flat(steps))

    def length(self, step: NDArray[np.floating]) -> float:
        """Norm of one step in float64."""
        return float(self.lengths(step[None])[0])

    def dual_length(self, gradient: NDArray[np.floating]) -> float:
        """The dual norm: the most that a step of length one changes a value of this gradient."""
        return float(self._dual_lengths(_flat(gradient[None]))[0])

    def stretch(self, size: int) -> float:
        """At least the largest Euclidean length of a step of length one with `size` elements."""
        # (The root rounds by half a unit in the last place.)
        return 1.0 if self.order <= 2.0 else float(self.extent * np.sqrt(size) * (1.0 + 1e-15))

    @abstractmethod
    def _lengths(self, sizes: Floats) -> Floats:
        """Norms (N,) of rows (N, n) >= 0."""

    @abstractmethod
    def _dual_lengths(self, sizes: Floats) -> Floats:
        """Dual norms (N,) of rows (N, n) >= 0."""

    @abstractmethod
    def gain(self, steep: Floats, way: Floats, radius: float) -> tuple[float, Floats]:
        """The most that a row can fall within ball and box.

        Parameters
        ----------
        steep, way
            (n,) absolute coefficients, and how far each element can move against them; `way` is 0
            where `steep` is.

        Returns
        -------
        value, moves
            At least the maximum of sum steep t over 0 <= t <= way, ||t|| <= radius, before
            rounding: a Lagrange dual, in which an inexact multiplier costs tightness, never
            soundness. Moves t (n,) near the maximum.
        """

    @abstractmethod
    def shortest(self, steep: Floats, way: Floats, fall: float) -> Floats:
        """Shortest moves 0 <= t <= way (n,) with sum steep t >= fall; `way` where none has it."""

    # Closed forms as graphs.

    @abstractmethod
    def write_lengths(self, b: Graph, steps: "ir.Value") -> "ir.Value":
        """Norms (N, 1) of rows."""

    @abstractmethod
    def write_steepest(self, b: Graph, gradients: "ir.Value", size: int) -> "ir.Value":
        """Steps (N, n) of length one against the gradients."""

    @abstractmethod
    def write_projection(
        self, b: Graph, steps: "ir.Value", radius: "ir.Value", size: int
    ) -> "ir.Value":
        """The nearest steps (N, n) in the Euclidean sense whose length is at most `radius`."""

    @abstractmethod
    def write_gain(
        self, b: Graph, steep: "ir.Value", way: "ir.Value", radius: "ir.Value"
    ) -> WrittenGain:
        """The gain of rows: `steep` and `way` (B, R, n), `radius` (B, 1, 1)."""

    @abstractmethod
    def _write_moves(
        self, b: Graph, constants: "ir.Value", slopes: "ir.Value", caps: "ir.Value", size: int
    ) -> "ir.Value":
        """Shortest moves 0 <= t <= caps with sum slopes t >= constants, or as near as they get."""

    def write_nearest(
        self,
        b: Graph,
        constants: "ir.Value",
        gradients: "ir.Value",
        lower: "ir.Value",
        upper: "ir.Value",
        size: int,
    ) -> "ir.Value":
        """Shortest steps y (N, n), lower <= y <= upper, with constants + gradients . y <= 0.

        Where the bounds do not reach the half-space, the step that comes closest to it; zero where
        that is no number. The projection of DeepFool (Moosavi-Dezfooli et al. 2016) and FAB (Croce
        and Hein 2020), with a box.

        Parameters
        ----------
        constants, gradients
            (N, 1), (N, n).
        lower, upper
            (1, n) with lower <= 0 <= upper, infinite where there is no bound.
        size
            n.
        """
        # In units of the largest slope nothing overflows that is of use.
        slopes = b.op("Abs", [gradients])
        scale = b.op("Max", [largest(b, slopes), b.scalar(TINY)])
        slopes, constants = b.op("Div", [slopes, scale]), b.op("Div", [constants, scale])
        # Every element moves against its gradient, by at most its cap.
        falling = b.op("Greater", [gradients, b.scalar(0.0)])
        caps = b.op("Where", [falling, b.op("Neg", [lower]), upper])
        caps = b.op("Min", [caps, b.scalar(HUGE)])
        moves = self._write_moves(b, constants, slopes, caps, size)
        sensible = b.op("Less", [moves, b.scalar(HUGE)])  # NaN is not
        moves = b.op("Where", [sensible, moves, b.scalar(0.0)])
        return b.op("Where", [falling, b.op("Neg", [moves]), moves])


def _flat(steps: NDArray[np.floating]) -> Floats:
    return np.abs(steps.astype(np.float64).reshape(len(steps), -1))


def fill(speed: Floats, way: Floats, weight: Floats, amount: float) -> Floats:
    """Moves min(s speed, way) (n,) with the least s at which sum weight moves >= amount.

    `way` where no s is enough. An element of speed 0 has way 0.
    """
    moving = speed > 0.0
    ends = np.divide(way, speed, out=np.zeros_like(way), where=moving)
    order = np.argsort(ends, kind="stable")
    arrived = np.concatenate([[0.0], np.cumsum((weight * way)[order])[:-1]])
    rates = np.cumsum((weight * speed)[order][::-1])[::-1]
    with np.errstate(invalid="ignore"):
        enough = np.flatnonzero(arrived + ends[order] * rates >= amount)
    if not len(enough):
        return way
    first = enough[0]
    if rates[first] <= 0.0:
        return np.zeros_like(way)
    return np.asarray(np.minimum(max(0.0, amount - arrived[first]) / rates[first] * speed, way))
