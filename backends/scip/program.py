"""A mixed-integer program as arrays, independent of its solver.

Variable 0 is the radius, which is minimised; the next ones are the inputs, and then whatever the
norm's ball needs: nothing in linf, the sizes of the inputs' steps in l1, a cone in l2. Formulations
(:mod:`graphprune.backends.scip.formulate`) add the network with a :class:`ProgramBuilder`; SCIP
solves the program in a process of its own, which knows nothing but these arrays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.errors import UnsupportedError
from graphprune.region import Ball

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

Encoding = Literal["auto", "big-m", "indicator"]
ENCODINGS: tuple[Encoding, ...] = ("auto", "big-m", "indicator")

# Entries whose term is below this share of a row's largest are the rounding of its composition.
DROP = 1e-13
# Bounds up to here are big-Ms; SCIP's integrality tolerance (1e-6) of a larger one would leak
# more than its feasibility tolerance allows.
BIG = 1e3
UNIT = 2.0**-53


@dataclass(frozen=True, eq=False)
class ReluVariables:
    """Variables of a layer.

    Attributes
    ----------
    z, first
        Pre-activations, defined by the rows from `first` on.
    unstable
        The pre-activations of the unstable neurons among them.
    h, a
        Outputs of the unstable neurons, and their binaries (-1: none).
    """

    z: Ints
    first: int
    unstable: Ints
    h: Ints
    a: Ints


@dataclass(frozen=True, eq=False)
class BallVariables:
    """The ball of a p-norm: the inputs' steps are no longer than variable 0.

    Attributes
    ----------
    order
        p as the norm's number; 0: rows bound every step alone.
    center
        (inputs,) what steps are measured from.
    moving
        Inputs that the box leaves room to move, counted from 0.
    sizes
        Their variables of the sizes of steps, where p is 1; else none.
    """

    order: int
    center: Floats
    moving: Ints
    sizes: Ints

    @property
    def cone(self) -> tuple[Ints, Floats] | None:
        """Variables and centres whose squared steps add up to at most the squared radius."""
        return (1 + self.moving, self.center[self.moving]) if self.order == 2 else None


@dataclass(frozen=True, eq=False)
class MixedIntegerProgram:
    """minimise variable 0 over low <= rows . v <= high, lower <= v <= upper.

    Attributes
    ----------
    lower, upper
        (n,) bounds of the variables.
    binary
        (n,) which of them are 0 or 1.
    rows, low, high
        (m, n), (m,), (m,).
    switch
        (m,) the binary variable whose value says whether a row holds; -1: it always does.
    value
        (m,) the value of `switch` at which it holds.
    curves
        Smooth activations h = sigma(z): name, z, h, a parameter.
    error
        (m,) what the network's own row can be off by anywhere on the ball; inf: not known.
    layers
        Definitions of the network's variables, in graph order.
    ball
        The norm's ball, whose radius is variable 0.
    start
        A solution to start from (n,), or None.
    priority
        (n,) what SCIP branches on first.
    """

    inputs: int
    lower: Floats
    upper: Floats
    binary: Bools
    rows: sparse.csr_array
    low: Floats
    high: Floats
    switch: Ints
    value: Ints
    curves: tuple[tuple[str, int, int, float], ...]
    error: Floats
    layers: tuple["ReluVariables", ...]
    ball: BallVariables
    start: Floats | None = None
    priority: Ints | None = None

    @property
    def binaries(self) -> Ints:
        """The neurons' binary variables, in graph order."""
        a = np.concatenate([np.zeros(0, np.intp), *(layer.a for layer in self.layers)])
        return a[a >= 0]

    def solution(self, x: Floats, radius: float) -> Floats:
        """The variables at an input (flat)."""
        v = np.zeros(len(self.lower))
        v[0], v[1 : 1 + self.inputs] = radius, x
        ball = self.ball
        if len(ball.sizes):
            v[ball.sizes] = np.abs(x - ball.center)[ball.moving]
        for layer in self.layers:
            part = slice(layer.first, layer.first + len(layer.z))
            # row . v - z = low, with z still 0.
            v[layer.z] = self.rows[part] @ v - self.low[part]
            z = v[layer.unstable]
            v[layer.h] = np.maximum(z, 0.0)
            has = layer.a >= 0
            v[layer.a[has]] = z[has] > 0
        return v

    def message(self) -> dict[str, Any]:
        """For the solver's process: arrays and plain values only."""
        return {
            "inputs": self.inputs, "lower": self.lower, "upper": self.upper,
            "binary": self.binary, "indptr": self.rows.indptr, "indices": self.rows.indices,
            "data": self.rows.data, "low": self.low, "high": self.high, "switch": self.switch,
            "value": self.value, "curves": self.curves, "start": self.start,
            "priority": self.priority, "cone": self.ball.cone,
        }  # fmt: skip


class ProgramBuilder:
    """A program that grows: the ball first, then what the formulation adds."""

    def __init__(self, ball: Ball, lower: float) -> None:
        self._lower: list[Floats] = []
        self._upper: list[Floats] = []
        self._binary: list[Bools] = []
        self._count = 0
        self._rows: list[tuple[Floats, Ints, Ints]] = []
        self._low: list[Floats] = []
        self._high: list[Floats] = []
        self._switch: list[Ints] = []
        self._value: list[Ints] = []
        self._height = 0
        self._curves: list[tuple[str, int, int, float]] = []
        self._error: list[Floats] = []
        self._layers: list[ReluVariables] = []
        center, low, high = (a.reshape(-1) for a in (ball.center, ball.lower, ball.upper))
        radius = self.variables(np.array([lower]), np.array([ball.radius]))
        self.x = self.variables(low, high)
        order = 0 if ball.norm.separable else ball.norm.kernel
        if order is None:
            raise UnsupportedError(f"the norm {ball.norm} has no form as a program")
        # The radius only matters where the box leaves room for it.
        moving = np.flatnonzero((high > center) | (low < center))
        own, sizes = np.repeat(radius, len(center)), np.zeros(0, np.intp)
        if order == 1:
            most = np.maximum(high - center, center - low)[moving]
            sizes = self.variables(np.zeros(len(moving)), np.nextafter(most, np.inf))
            own[moving] = sizes
            ones = np.ones((1, len(sizes)))
            self.rows({"s": (sparse.csr_array(ones), sizes), "r": (-np.ones(1), radius)},
                      high=np.zeros(1))  # fmt: skip
        self.ball = BallVariables(order, center, moving, sizes)
        for sign, room in ((1.0, high > center), (-1.0, low < center)):
            x, one = self.x[room], np.ones(int(room.sum()))
            self.rows({"x": (sign * one, x), "r": (-one, own[room])}, high=sign * center[room])

    def variables(self, lower: Floats, upper: Floats, binary: Bools | None = None) -> Ints:
        """Add variables; their indices."""
        count = len(lower)
        self._lower.append(lower.astype(np.float64))
        self._upper.append(upper.astype(np.float64))
        self._binary.append(np.zeros(count, bool) if binary is None else binary)
        self._count += count
        return np.arange(self._count - count, self._count)

    def rows(
        self,
        terms: Mapping[str, tuple[Floats | sparse.csr_array, Ints]],
        *,
        low: Floats | None = None,
        high: Floats | None = None,
        switch: Ints | None = None,
        value: int = 1,
        error: Floats | float = 0.0,
    ) -> int:
        """Add rows: the sum over `terms` of a matrix over the variables of its columns.

        A vector stands for a diagonal matrix. Returns the first one's index.
        """
        sides = low if low is not None else high
        assert sides is not None
        height = len(sides)
        for weights, columns in terms.values():
            if isinstance(weights, np.ndarray):
                at = np.flatnonzero(weights)
                entry = (weights[at], self._height + at, columns[at])
            else:
                coo = weights.tocoo()
                at, own = (c.astype(np.intp) for c in coo.coords)
                entry = (coo.data, self._height + at, columns[own])
            self._rows.append(entry)
        self._low.append(np.full(height, -np.inf) if low is None else low)
        self._high.append(np.full(height, np.inf) if high is None else high)
        self._switch.append(np.full(height, -1) if switch is None else switch)
        self._value.append(np.full(height, value))
        self._error.append(np.broadcast_to(error, height))
        self._height += height
        return self._height - height

    def extent(self, variables: Ints) -> Floats:
        """The largest absolute values of variables."""
        ends = np.maximum(np.abs(np.concatenate(self._lower)), np.abs(np.concatenate(self._upper)))
        return np.asarray(ends[variables])

    def curve(self, name: str, z: int, h: int, parameter: float = 0.0) -> None:
        """Add a smooth activation."""
        self._curves.append((name, z, h, parameter))

    def layer(self, z: Ints, first: int) -> None:
        """Say that a layer without binaries is defined by the rows from `first` on."""
        none = np.zeros(0, np.intp)
        self._layers.append(ReluVariables(z, first, none, none, none))

    def relu(self, z: Ints, first: int, unstable: Ints, exact: Bools, encoding: Encoding) -> Ints:
        """Add h = relu(z) for the unstable neurons of a layer; the triangle where not exact.

        A binary a says that a neuron is active. Encoded as big-M,

            h >= z,  h <= z - l (1 - a),  h <= u a,

        or, where M would be big, as indicators: a = 1 implies h <= z, a = 0 implies h <= 0.
        """
        every, z = z, z[unstable]
        # A tightened bound may have passed 0: then h >= z and the bounds of z decide.
        lower = np.minimum(np.concatenate(self._lower)[z], 0.0)
        upper = np.maximum(np.concatenate(self._upper)[z], 0.0)
        h = self.variables(np.zeros(len(z)), upper)
        one = np.ones(len(z))
        self.rows({"h": (one, h), "z": (-one, z)}, low=np.zeros(len(z)))
        a = np.full(len(z), -1)
        a[exact] = self.variables(np.zeros(exact.sum()), np.ones(exact.sum()), exact[exact])
        large = np.maximum(-lower, upper) > BIG
        indicated = exact & (large if encoding == "auto" else np.full(len(z), encoding != "big-m"))
        big = exact & ~indicated
        flat = ~big
        if np.any(flat):
            width = np.maximum(upper - lower, 1e-300)
            slope = (upper / width)[flat]
            self.rows({"h": (one[flat], h[flat]), "z": (-slope, z[flat])},
                      high=-slope * lower[flat],
                      error=8 * UNIT * (upper - lower)[flat])  # fmt: skip
        if np.any(big):
            self.rows({"h": (one[big], h[big]), "z": (-one[big], z[big]),
                       "a": (-lower[big], a[big])}, high=-lower[big])  # fmt: skip
            self.rows({"h": (one[big], h[big]), "a": (-upper[big], a[big])},
                      high=np.zeros(big.sum()))  # fmt: skip
        if np.any(indicated):
            none, who = np.zeros(indicated.sum()), a[indicated]
            ones = one[indicated]
            self.rows({"h": (ones, h[indicated]), "z": (-ones, z[indicated])}, high=none,
                      switch=who, value=1)  # fmt: skip
            self.rows({"h": (ones, h[indicated])}, high=none, switch=who, value=0)
        self._layers.append(ReluVariables(every, first, z, h, a))
        return h

    def build(self) -> MixedIntegerProgram:
        """The program."""
        data, row, column = (np.concatenate(parts) for parts in zip(*self._rows, strict=True))
        shape = (self._height, self._count)
        rows = sparse.csr_array(sparse.coo_array((data, (row, column)), shape=shape))
        rows.sum_duplicates()
        return MixedIntegerProgram(
            len(self.x), np.concatenate(self._lower), np.concatenate(self._upper),
            np.concatenate(self._binary), rows, np.concatenate(self._low),
            np.concatenate(self._high), np.concatenate(self._switch), np.concatenate(self._value),
            tuple(self._curves), np.concatenate(self._error), tuple(self._layers), self.ball,
        )  # fmt: skip


def without_noise(matrix: sparse.csr_array, extent: Floats) -> sparse.csr_array:
    """The matrix without entries that are only the rounding of its composition.

    Parameters
    ----------
    extent
        (columns,) the largest value of every variable: an entry is as large as its term can be.
    """
    out = sparse.csr_array(matrix, copy=True)
    heights = np.repeat(np.arange(out.shape[0]), np.diff(out.indptr))
    largest, terms = np.zeros(out.shape[0]), np.abs(out.data) * extent[out.indices]
    np.maximum.at(largest, heights, terms)
    out.data[terms <= DROP * largest[heights]] = 0.0
    out.eliminate_zeros()
    return out
