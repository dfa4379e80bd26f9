"""All constraints of a polytope together.

Each constraint alone may have unsafe points everywhere in a case where no point satisfies them all.
By duality the least value, over a relaxation, of the largest constraint is that of one row: the
constraints' combination with the multipliers of the linear program that has them all. So this
program finds the row, and whatever proves a row positive, splits neurons or bounds it goes on with
that one.
"""

from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.arrays import nothing_assumed, output_row
from graphprune.backends.relaxation.condensed import UNIT, Condensed
from graphprune.backends.relaxation.kernels import LinearRow
from graphprune.backends.relaxation.linear_program import RelaxationProgram
from graphprune.backends.relaxation.node_lp import most_wrong
from graphprune.backends.relaxation.subproblem import Subproblem

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Conjunction:
    """Constraints ``weights . y <= limits`` that an unsafe point satisfies together.

    Attributes
    ----------
    weights, limits
        (K, outputs), (K,).
    condensed
        The network on the region that all cases are part of.
    """

    weights: Floats
    limits: Floats
    condensed: Condensed

    def rows(self) -> list[LinearRow]:
        """The constraints as rows over the basis."""
        pairs = zip(self.weights, self.limits, strict=True)
        return [output_row(self.condensed, row, float(limit)) for row, limit in pairs]

    def combined(self, shares: Floats) -> tuple[Floats, LinearRow]:
        """The combination of the constraints: over the outputs, and over the basis."""
        row, limit = shares @ self.weights, float(shares @ self.limits)
        goal = output_row(self.condensed, row, limit)
        # Rounding of the combination itself. What a row of outputs is off by counts more roundings
        # than there are constraints, of the same terms.
        count = len(shares) + 2
        error = (1.0 + count / 64.0) * float(shares @ np.abs(self.weights) @ self.condensed.error)
        error += 4.0 * count * UNIT * float(shares @ np.abs(self.limits))
        error += (
            4.0
            * count
            * UNIT
            * float(shares @ np.abs(self.weights) @ np.abs(self.condensed.offset))
        )
        return row, goal._replace(error=goal.error + error)


@dataclass(frozen=True, eq=False)
class JointAnswer:
    """The optimum of the program with all constraints.

    Attributes
    ----------
    case
        The case with the combination of the constraints as its row.
    point
        Inputs with the least largest constraint over the relaxation.
    neuron
        Unsplit neuron that the relaxation is wrong about there; None: it is right, up to rounding.
    """

    case: Subproblem
    point: Floats
    neuron: int | None


def solve_joint(
    case: Subproblem, conjunction: Conjunction, phases: NDArray[np.int8], deadline: float
) -> JointAnswer | None:
    """Solve a case's relaxation for all constraints.

    None where it has no point, or HiGHS gives up.
    """
    program = RelaxationProgram(case.relaxation, case.specification)
    program.split(phases)
    found = program.least_largest(conjunction.rows(), deadline - monotonic())
    if found is None:
        return None
    basis, multipliers = found
    row, goal = conjunction.combined(multipliers / multipliers.sum())
    joint = replace(case, row=row, specification=nothing_assumed(goal))
    neuron = most_wrong(case.rows, basis, phases)
    return JointAnswer(joint, basis[: case.inputs], neuron)
