"""Every tensor of the model as an affine form over inputs and variable neurons, with its error.

On a box of inputs, with neurons known to be active (z >= 0) or inactive (z <= 0), each tensor is
``rows @ v + offset`` up to ``error``; v, the basis, holds the inputs and the outputs relu(z_j)
of the variable neurons. Rounding follows Higham (Accuracy and Stability of Numerical Algorithms,
section 3.1): n operations in any order are off by at most gamma_n = n u / (1 - n u), u = 2^-53,
times the sum of the absolute terms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.check.steps import AffineStep, Model

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

UNIT = 2.0**-53
# Evaluating an error bound rounds as well; this factor pays for it, TINY for underflow.
MORE, TINY = 1.0 + 1e-6, 1e-290


def gamma(operations: int) -> float:
    """Relative error of `operations` roundings in any order."""
    return MORE * operations * UNIT


def times(matrix: sparse.csr_array, x: NDArray[np.floating]) -> Floats:
    """matrix @ x."""
    result: Floats = matrix @ x
    return result


def csr(array: object) -> sparse.csr_array:
    return sparse.csr_array(array)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True, eq=False)
class AffineForm:
    """Values ``rows @ v + offset`` up to `error`: a row per value, over the basis so far."""

    rows: sparse.csr_array
    offset: Floats
    error: Floats

    def magnitude(self, extent: Floats) -> Floats:
        """Sums of absolute terms, one per row, where |v| <= `extent`."""
        width = self.rows.shape[1]
        return times(abs(self.rows), extent[:width]) + np.abs(self.offset)

    def take(self, which: Ints) -> "AffineForm":
        return AffineForm(csr(self.rows[which]), self.offset[which], self.error[which])

    def widen(self, basis: int) -> "AffineForm":
        """The same over a larger basis."""
        r = self.rows
        rows = csr(sparse.csr_array((r.data, r.indices, r.indptr), shape=(r.shape[0], basis)))
        return AffineForm(rows, self.offset, self.error)


@dataclass(frozen=True, eq=False)
class ReluPhases:
    """Phases of the neurons of one ReLU node.

    Attributes
    ----------
    phase
        (size,) 1: z >= 0 is known, -1: z <= 0, 0: variable.
    upper
        (variable neurons,) of their outputs.
    """

    phase: NDArray[np.int8]
    upper: Floats


class Propagation:
    """Forms of all tensors on a box, layer by layer.

    Parameters
    ----------
    low, high
        (inputs,) the box.
    decide
        Told the number of a ReLU node and the form of its input; says what its neurons are.
    """

    def __init__(
        self,
        model: Model,
        low: Floats,
        high: Floats,
        decide: Callable[[int, AffineForm], ReluPhases],
    ) -> None:
        self.low, self.high = low, high
        # |v| of the basis so far.
        self.extent = np.maximum(np.abs(low), np.abs(high))
        self.decide = decide
        eye = csr(sparse.eye_array(model.inputs))
        forms = {model.input: AffineForm(eye, np.zeros(model.inputs), np.zeros(model.inputs))}
        node = 0
        for step in model.steps:
            if isinstance(step, AffineStep):
                forms[step.output] = self._affine(step, forms)
            else:
                forms[step.output] = self._relu(node, forms[step.input])
                node += 1
        self.logits = forms[model.output].widen(len(self.extent))

    def _affine(self, step: AffineStep, forms: dict[str, AffineForm]) -> AffineForm:
        form = forms[step.input]
        if step.matrix is not None:
            form = self._linear(step.matrix, form)
        if step.input2 is not None:
            form = self._sum(form, forms[step.input2])
        if step.bias is not None:
            # The weights themselves may have been rounded (scaled biases).
            size = np.abs(form.offset) + np.abs(step.bias)
            error = MORE * (form.error + gamma(4) * size) + TINY
            form = AffineForm(form.rows, form.offset + step.bias, error)
        return form

    def _linear(self, matrix: sparse.csr_array, form: AffineForm) -> AffineForm:
        weights = abs(matrix)
        most = int(np.max(np.diff(matrix.indptr), initial=0))
        # 8: scaled weights, quotients and roots.
        spread = form.error + gamma(most + 8) * form.magnitude(self.extent)
        error = MORE * times(weights, spread) + TINY
        return AffineForm(csr(matrix @ form.rows), times(matrix, form.offset), error)

    def _sum(self, first: AffineForm, second: AffineForm) -> AffineForm:
        basis = max(first.rows.shape[1], second.rows.shape[1])
        first, second = first.widen(basis), second.widen(basis)
        size = first.magnitude(self.extent) + second.magnitude(self.extent)
        error = MORE * (first.error + second.error + gamma(2) * size) + TINY
        return AffineForm(csr(first.rows + second.rows), first.offset + second.offset, error)

    def _relu(self, node: int, form: AffineForm) -> AffineForm:
        layer = self.decide(node, form)
        variable = np.flatnonzero(layer.phase == 0)
        basis, more = len(self.extent), len(variable)
        active = (layer.phase == 1).astype(np.float64)
        kept = csr(sparse.diags_array(active) @ form.widen(basis).rows)
        kept.eliminate_zeros()
        units = csr(
            sparse.coo_array((np.ones(more), (variable, np.arange(more))), (len(active), more))
        )
        rows = csr(sparse.hstack([kept, units], format="csr"))
        # An inactive neuron's extent is 0; a negative one would count as a gain.
        self.extent = np.concatenate([self.extent, np.maximum(layer.upper, 0.0)])
        return AffineForm(rows, active * form.offset, active * form.error)


def intervals(form: AffineForm, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Proven bounds of a form on the box of its basis, rounded outward."""
    width = form.rows.shape[1]
    low, high = low[:width], high[:width]
    positive = form.rows.maximum(0)
    negative = form.rows - positive
    lower = form.offset + times(positive, low) + times(negative, high)
    upper = form.offset + times(positive, high) + times(negative, low)
    extent = np.maximum(np.abs(low), np.abs(high))
    most = int(np.max(np.diff(form.rows.indptr), initial=0))
    error = MORE * (form.error + 2.0 * gamma(most + 8) * form.magnitude(extent)) + TINY
    return lower - error, upper + error
