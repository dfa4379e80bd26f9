"""Elementary functions that a formula is written with once, for arrays and for ONNX graphs.

``z * logistic(z)`` of a float64 array is an array; of a `Formula` it is the nodes of a graph.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt as root
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy import special

from graphprune.ir.builder import GraphBuilder

Floats = NDArray[np.float64]


class Formula:
    """A value of a graph, with the arithmetic of arrays."""

    def __init__(self, builder: GraphBuilder, value: ir.Value) -> None:
        self.builder = builder
        self.value = value

    def apply(self, op_type: str, *others: "Formula | float") -> "Formula":
        """The node of an operator on this value and others."""
        b = self.builder
        values = [o.value if isinstance(o, Formula) else b.scalar(float(o)) for o in others]
        return Formula(b, b.op(op_type, [self.value, *values]))

    def _after(self, op_type: str, other: float) -> "Formula":
        b = self.builder
        return Formula(b, b.op(op_type, [b.scalar(float(other)), self.value]))

    def __add__(self, other: "Formula | float") -> "Formula":
        return self.apply("Add", other)

    def __radd__(self, other: float) -> "Formula":
        return self.apply("Add", other)

    def __sub__(self, other: "Formula | float") -> "Formula":
        return self.apply("Sub", other)

    def __rsub__(self, other: float) -> "Formula":
        return self._after("Sub", other)

    def __mul__(self, other: "Formula | float") -> "Formula":
        return self.apply("Mul", other)

    def __rmul__(self, other: float) -> "Formula":
        return self.apply("Mul", other)

    def __truediv__(self, other: "Formula | float") -> "Formula":
        return self.apply("Div", other)

    def __rtruediv__(self, other: float) -> "Formula":
        return self._after("Div", other)

    def __neg__(self) -> "Formula":
        return self.apply("Neg")


T = TypeVar("T", Floats, Formula)


@dataclass(frozen=True)
class Elementary:
    """A function that both NumPy and ONNX have; what overflows or is undefined is no number."""

    op_type: str
    on_arrays: Callable[[Floats], Floats]

    def __call__(self, z: T) -> T:
        if isinstance(z, Formula):
            return z.apply(self.op_type)
        with np.errstate(all="ignore"):
            return self.on_arrays(z)


def _softplus(z: Floats) -> Floats:
    return np.logaddexp(0.0, z)


exp = Elementary("Exp", np.exp)
log = Elementary("Log", np.log)
sqrt = Elementary("Sqrt", np.sqrt)
sin = Elementary("Sin", np.sin)
cos = Elementary("Cos", np.cos)
sinh = Elementary("Sinh", np.sinh)
cosh = Elementary("Cosh", np.cosh)
tanh = Elementary("Tanh", np.tanh)
atan = Elementary("Atan", np.arctan)
erf = Elementary("Erf", special.erf)
logistic = Elementary("Sigmoid", special.expit)
softplus = Elementary("Softplus", _softplus)
absolute = Elementary("Abs", np.abs)
sign = Elementary("Sign", np.sign)
floor = Elementary("Floor", np.floor)
ceil = Elementary("Ceil", np.ceil)
nearest = Elementary("Round", np.rint)


def normal(z: T) -> T:
    """The distribution function of the standard normal law."""
    if isinstance(z, Formula):
        return 0.5 * (erf(z * root(0.5)) + 1.0)
    result: Floats = special.ndtr(z)
    return result


def less_one(z: T) -> T:
    """exp(z) - 1, without cancellation where arrays are concerned."""
    if isinstance(z, Formula):
        return exp(z) - 1.0
    with np.errstate(all="ignore"):
        return np.expm1(z)


def power(z: T, exponent: float) -> T:
    """z to a constant power."""
    if isinstance(z, Formula):
        return z.apply("Pow", exponent)
    with np.errstate(all="ignore"):
        return np.power(z, exponent)


def clip(z: T, low: float, high: float) -> T:
    """min(max(z, low), high)."""
    if isinstance(z, Formula):
        return z.apply("Max", low).apply("Min", high)
    return np.clip(z, low, high)


def above(z: T, threshold: float, yes: T | float, no: T | float) -> T:
    """`yes` where z is above a threshold, `no` elsewhere."""
    if isinstance(z, Formula):
        return z.apply("Greater", threshold).apply("Where", yes, no)
    result: Floats = np.where(z > threshold, yes, no)
    return result
