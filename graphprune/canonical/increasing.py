"""Elementwise operators that keep the order of numbers: which, and their inverses.

One of them above the scores changes no decision: argmax, margins' signs and the boundary are those
of the values below. In floating point it does: saturated scores tie. So it is cut like a Softmax.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import atanh, exp, expm1, inf, isfinite, log, log1p, nextafter, pi, tan

import numpy as np
import onnx
from onnx.helper import get_attribute_value

from graphprune.ir.source import HeadOperator

# An error bound of inverses, relative to 1 and to their value: some ten thousand units.
ERROR = 1e-12
# Defaults of attributes, in float32 as ONNX and runtimes have them.
SLOPE = float(np.float32(0.01))
SELU = (float(np.float32(1.6732632)), float(np.float32(1.0507010)))


@dataclass(frozen=True)
class Increasing:
    """A strictly increasing function of one number, up to its sign.

    Attributes
    ----------
    inverse
        The number at which the function takes a value; -inf and inf beyond its values. Exact to
        a few units in the last place of its terms.
    applies
        True for the attributes of a node that is strictly increasing.
    positive
        Its values are above 0, so that a logarithm may follow.
    sign
        -1 for a decreasing function, two of which make an increasing one.
    """

    inverse: Callable[[float, Mapping[str, float]], float]
    applies: Callable[[Mapping[str, float]], bool] = lambda _: True
    positive: bool = False
    sign: int = 1


def _within(low: float, high: float, inner: Callable[[float], float]) -> Callable[..., float]:
    """The inverse `inner` between the ends of a function's values."""

    def inverse(y: float, _: Mapping[str, float]) -> float:
        return -inf if y <= low else inf if y >= high else inner(y)

    return inverse


def _leaky(y: float, attributes: Mapping[str, float]) -> float:
    return y if y >= 0 else y / attributes.get("alpha", SLOPE)


def _elu(y: float, attributes: Mapping[str, float]) -> float:
    alpha = attributes.get("alpha", 1.0)
    return y if y >= 0 else -inf if y <= -alpha else log1p(y / alpha)


def _celu(y: float, attributes: Mapping[str, float]) -> float:
    alpha = attributes.get("alpha", 1.0)
    return y if y >= 0 else -inf if y <= -alpha else alpha * log1p(y / alpha)


def _selu(y: float, attributes: Mapping[str, float]) -> float:
    alpha, gamma = attributes.get("alpha", SELU[0]), attributes.get("gamma", SELU[1])
    return y / gamma if y >= 0 else -inf if y <= -alpha * gamma else log1p(y / (alpha * gamma))


def _positive(name: str, default: float) -> Callable[[Mapping[str, float]], bool]:
    return lambda attributes: attributes.get(name, default) > 0.0


def _exponential(y: float, _: Mapping[str, float]) -> float:
    """The inverse of the logarithm."""
    return exp(y) if y < 709.0 else inf


INCREASING: dict[str, Increasing] = {
    "Sigmoid": Increasing(_within(0.0, 1.0, lambda y: log(y) - log1p(-y)), positive=True),
    "Tanh": Increasing(_within(-1.0, 1.0, atanh)),
    "Softplus": Increasing(
        _within(0.0, inf, lambda y: y + log(-expm1(-y)) if y > 1e-300 else -inf), positive=True
    ),
    "Softsign": Increasing(_within(-1.0, 1.0, lambda y: y / (1.0 - abs(y)))),
    "Exp": Increasing(_within(0.0, inf, log), positive=True),
    "Log": Increasing(_exponential),
    "Atan": Increasing(_within(-pi / 2, pi / 2, tan)),
    "LeakyRelu": Increasing(_leaky, _positive("alpha", SLOPE)),
    "Elu": Increasing(_elu, _positive("alpha", 1.0)),
    "Celu": Increasing(_celu, _positive("alpha", 1.0)),
    "Selu": Increasing(_selu, _positive("gamma", SELU[1])),
    "Neg": Increasing(lambda y, _: -y, sign=-1),
}


def attributes_of(node: onnx.NodeProto) -> dict[str, float]:
    """A node's numeric attributes by name."""
    return {
        a.name: float(get_attribute_value(a))
        for a in node.attribute
        if a.type in (onnx.AttributeProto.FLOAT, onnx.AttributeProto.INT)
    }


def inverse(limit: Fraction | float, head: Sequence[HeadOperator]) -> tuple[float, float] | None:
    """Numbers between which the scores lie that operators above them make `limit` of.

    None where one of these runs over the classes. An end is infinite where the value is never
    taken.
    """
    low = high = float(limit)
    low, high = nextafter(low, -inf), nextafter(high, inf)
    for operator in reversed(head):
        if operator.over_classes:
            return None
        known = INCREASING.get(operator.op_type)
        if known is None:
            found = [_undone(operator, end) for end in (low, high)]
        else:
            found = [known.inverse(end, operator.attributes) for end in (low, high)]
        low, high = min(found), max(found)
        low = low - ERROR * (1.0 + abs(low)) if isfinite(low) else low
        high = high + ERROR * (1.0 + abs(high)) if isfinite(high) else high
    return low, high


def _undone(operator: HeadOperator, end: float) -> float:
    """The number that a sum or product with a scalar makes `end` of."""
    first = operator.operands[0] is not None
    number = float(next(a for a in operator.operands if a is not None).reshape(-1)[0])
    match operator.op_type:
        case "Add":
            return end - number
        case "Sub":
            return number - end if first else end + number
        case "Mul":
            return end / number
        case _:
            return end * number
