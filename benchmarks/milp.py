"""Small ReLU networks as mixed-integer programs for HiGHS, written apart from what they judge.

Big-M constraints by interval bounds over the whole box. Nothing here is certified: a program's
point is run through the network before it counts.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, hstack, vstack

import graphprune as gp
from graphprune.transforms.matrix import matrix_of

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
# Neurons up to which a program ends in well under a second.
MOST = 24
SECONDS = 5.0
# Rounds of tangents to squares, and the share of the distance's square that may be missing.
ROUNDS, TANGENT = 12, 1e-6


@dataclass
class Program:
    """A network over a box: variables are the input, then per layer its outputs and switches.

    Attributes
    ----------
    matrix, offset
        The scores as an affine form of the variables.
    rows, upper
        ``rows v <= upper`` ties them.
    """

    low: Floats
    high: Floats
    matrix: Any = field(init=False)
    offset: Floats = field(init=False)
    rows: list[csr_array] = field(default_factory=list)
    upper: list[Floats] = field(default_factory=list)
    integral: Floats = field(init=False)

    @classmethod
    def of(cls, network: gp.Network, low: Floats, high: Floats) -> "Program":
        """The program of a ReLU network over the box [low, high]."""
        self = cls(low.reshape(-1).copy(), high.reshape(-1).copy())
        self.integral = np.zeros(len(self.low))
        places: dict[int, Places] = {id(network.input): np.arange(len(self.low))}
        for index, activation in enumerate(network.activations):
            form, offset = self._form(network, index, places)
            places[id(activation.outputs[0])] = self._relu(form, offset)
        self.matrix, self.offset = self._form(network, len(network.activations), places)
        return self

    def _form(
        self, network: gp.Network, index: int, places: dict[int, Places]
    ) -> tuple[csr_array, Floats]:
        segment, found = network.segments[index], matrix_of(network, index)
        form = csr_array((len(found.offset), len(self.low)))
        for weight, source in zip(found.weights, segment.sources, strict=True):
            at = places[id(source)]
            ones = np.ones(len(at))
            spread = csr_array((ones, (np.arange(len(at)), at)), (len(at), len(self.low)))
            form = form + weight @ spread
        return csr_array(form), found.offset

    def _relu(self, form: csr_array, offset: Floats) -> Places:
        """Variables for relu(form + offset), and switches that say which side holds."""
        count, before = len(offset), len(self.low)
        positive, negative = form.maximum(0), form.minimum(0)
        lower = positive @ self.low + negative @ self.high + offset
        upper = positive @ self.high + negative @ self.low + offset
        # Room for the rounding of the sums above.
        room = 1e-9 * (1.0 + np.abs(lower) + np.abs(upper))
        lower, upper = lower - room, upper + room
        top = np.maximum(upper, 0.0)
        self.low = np.concatenate([self.low, np.zeros(2 * count)])
        self.high = np.concatenate([self.high, top, np.ones(count)])
        self.integral = np.concatenate([self.integral, np.zeros(count), np.ones(count)])
        eye, none = csr_array(np.eye(count)), csr_array((count, count))

        def block(x: csr_array, y: csr_array, d: csr_array) -> csr_array:
            return csr_array(hstack([x, y, d]))

        diagonal = csr_array(np.diag(np.minimum(lower, 0.0)))
        self.rows = [csr_array(hstack([r, csr_array((r.shape[0], 2 * count))])) for r in self.rows]
        # y >= z; y <= z - l (1 - d); y <= u d.
        self.rows += [
            block(form, -eye, none),
            block(-form, eye, -diagonal),
            block(csr_array((count, before)), eye, -csr_array(np.diag(top))),
        ]
        self.upper += [-offset, offset - np.minimum(lower, 0.0), np.zeros(count)]
        return np.arange(before, before + count)

    def _solved(
        self, cost: Floats, rows: list[csr_array], upper: list[Floats], most: float, extra: int = 1
    ) -> Floats | None:
        """The variables that minimise the cost; the last `extra` are free, at most `most`."""
        wide = [csr_array(hstack([r, csr_array((r.shape[0], extra))])) for r in self.rows]
        result = milp(
            cost,
            constraints=LinearConstraint(
                csr_array(vstack([*wide, *rows])), -np.inf, np.concatenate([*self.upper, *upper])
            ),
            bounds=Bounds(
                np.append(self.low, np.full(extra, -np.inf)),
                np.append(self.high, np.full(extra, most)),
            ),
            integrality=np.append(self.integral, np.zeros(extra)),
            options={"time_limit": SECONDS},
        )
        return None if result.x is None else np.asarray(result.x)

    def nearest(self, start: Floats, label: int, target: int, norm: str = "linf") -> Floats | None:
        """The input nearest to `start` in a norm where the target wins.

        In l2 the sum of squares lies above its tangents at the points that were nearest so far.
        """
        n, size = len(start), len(self.low)
        eye = csr_array((np.ones(n), (np.arange(n), np.arange(n))), (n, size))
        # Variables that are at least |x - start|, for all inputs together or for each.
        last = csr_array(np.ones((n, 1)) if norm == "linf" else np.eye(n))
        extra = last.shape[1]
        margin = csr_array(self.matrix[[label]] - self.matrix[[target]])
        rows = [
            csr_array(hstack([margin, csr_array((1, extra))])),
            csr_array(hstack([eye, -last])),
            csr_array(hstack([-eye, -last])),
        ]
        sides = [np.array([self.offset[target] - self.offset[label]]), start, -start]
        cost = np.append(np.zeros(size), np.ones(extra))
        found = self._solved(cost, rows, sides, np.inf, extra)
        if found is None or norm != "l2":
            return None if found is None else found[:n]
        rows, sides = rows[:1], sides[:1]
        nearest, best = found[:n], np.inf
        for _ in range(ROUNDS):
            move = found[:n] - start
            length = float(move @ move)
            if length < best:
                nearest, best = found[:n], length
            # s >= y^2 lies above 2 c y - c^2 at c = y, and on the other side as it does there.
            for c in (move, -move, 0.5 * move):
                rows.append(csr_array(hstack([csr_array(np.diag(2 * c)) @ eye, -last])))
                sides.append(c**2 + 2 * c * start)
            again = self._solved(cost, rows, sides, np.inf, extra)
            if again is None or again[size:].sum() >= best * (1 - TANGENT):
                break
            found = again
        return nearest

    def most_slack(self, weights: Floats, limits: Floats, inputs: int) -> Floats | None:
        """The input where ``weights y - limits`` is largest in its smallest part."""
        rows = csr_array(
            hstack([csr_array(-weights) @ self.matrix, csr_array(np.ones((len(limits), 1)))])
        )
        side = weights @ self.offset - limits
        found = self._solved(np.append(np.zeros(len(self.low)), -1.0), [rows], [side], 1e9)
        return None if found is None else found[:inputs]
