"""The forward pass at a point in float64, and how far each operator's result may be off.

Errors are those of one operator alone, given what it read: who adds them up says how they grow.
"""

from collections import Counter
from typing import Protocol, TypeGuard, TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.bounds.problem import Floats
from graphprune.ir import Network
from graphprune.ir.network import (
    AffineOperator,
    activation_of,
    affine,
    data_inputs,
    is_affine,
    sample_shape,
)
from graphprune.transforms.matrix import run_operator

Number = TypeVar("Number", float, Floats)

UNIT = 2.0**-53
# Roundings that a weight went through when layers were folded, and a few for the bounds on errors.
FOLDED = 24
# An underflow is less than TINY; products of what is at least SMALL and WEIGHT do not underflow.
TINY, SMALL, WEIGHT = 1e-290, 1e-200, 1e-80
# Sums of more terms are not split.
MOST = 1 << 16


class WeightedOperator(AffineOperator, Protocol):
    """An operator that says its norm, and what it is with other weights."""

    @property
    def weight(self) -> Floats: ...

    def with_weight(self, weight: Floats) -> AffineOperator:
        """The operator with other weights and without offset."""
        ...

    def spectral_norm(self, deadline: float) -> float:
        """At least the largest singular value, a coarser bound past a deadline of `monotonic`."""
        ...


class RoundedPass:
    """The forward pass at an anchor in float64, and what its operators may have rounded.

    Attributes
    ----------
    values
        By id of a pre-activation (and the logits): the computed value, flat.
    errors
        By id of an affine node's output: bounds (n,) of the rounding of this operator alone.
    """

    def __init__(self, network: Network, center: Floats) -> None:
        self.network = network
        self.values: dict[int, Floats] = {}
        self.errors: dict[int, Floats] = {}
        uses = Counter(id(v) for node in network.nodes for v in data_inputs(node))
        found: dict[int, Floats] = {id(network.input): center[None]}
        for node in network.nodes:
            inputs = data_inputs(node)
            given = [found[id(v)] for v in inputs]
            out = node.outputs[0]
            if is_affine(node):
                found[id(out)] = self._affine(node, given)
            else:
                z = given[0].reshape(-1)
                self.values[id(inputs[0])] = z
                low, high = activation_of(node).interval(z, z)
                found[id(out)] = (low + 0.5 * (high - low)).reshape(given[0].shape)
                self.errors[id(out)] = (high - low) * (low < high)
            for value in inputs:
                uses[id(value)] -= 1
                if not uses[id(value)]:
                    del found[id(value)]
        self.values[id(network.output)] = found[id(network.output)].reshape(-1)

    def _affine(self, node: ir.Node, given: list[Floats]) -> Floats:
        op = affine(node)
        shapes = [sample_shape(v) for v in data_inputs(node)]
        roundings = op.rounding + FOLDED
        error: Floats = np.zeros(0)
        if weighted(op) and _splits(op, given):
            value, error = split_product(op, given[0], shapes[0])
            roundings = FOLDED
        else:
            value = run_operator(op, shapes, given)
        if op.rounding:
            size = run_operator(op.absolute(), shapes, [np.abs(x) for x in given]).reshape(-1)
            own = 1.01 * roundings * UNIT * size
            if heavy(op) or not all(ample(x, SMALL) for x in given):
                own += TINY * (1.0 + op.rounding)
            self.errors[id(node.outputs[0])] = own + error if len(error) else own
        return value


def _splits(op: "WeightedOperator", given: list[Floats]) -> bool:
    """True where `split_product` neither overflows nor underflows."""
    largest = [float(np.max(np.abs(array), initial=0.0)) for array in (op.weight, *given)]
    plain = all(a == 0.0 or WEIGHT < a < 1.0 / WEIGHT for a in largest)
    return plain and len(given) == 1 and op.rounding < MOST


def split_product(
    op: "WeightedOperator", x: Floats, shape: tuple[int, ...]
) -> tuple[Floats, Floats]:
    """An operator on one point (1, *sample), and bounds (n,) of what computing it rounded.

    Weights and point are split into multiples of a power of two so few that all sums of their
    products are exact, and rests that are smaller by that many bits, as in Ozaki et al. 2012.
    """
    count = op.rounding + 1
    bits = (53 - int(np.ceil(np.log2(count)))) // 2
    high, largest = _multiples(op.weight, bits)
    point, longest = _multiples(x, bits)
    parts = np.concatenate([point, x - point])
    exact, rest = np.split(run_operator(op.with_weight(high), [shape], [parts]), 2)
    rest = rest + run_operator(op.with_weight(op.weight - high), [shape], [x])
    offset = run_operator(op, [shape], [np.zeros_like(x)])
    middle = exact + rest
    value = middle + offset
    # Every term of a rest is at most this.
    term = largest * longest * 2.0 ** (1 - bits)
    sums = np.abs(rest) + np.abs(middle) + np.abs(value)
    lost: Floats = 1.01 * UNIT * (2.0 * count * count * term + sums) + TINY
    return value, lost.reshape(-1)


def _multiples(array: Floats, bits: int) -> tuple[Floats, float]:
    """Numbers rounded to multiples of 2^-bits of a power of two that none exceeds, and that."""
    largest = float(np.max(np.abs(array), initial=0.0))
    if largest == 0.0:
        return array, 0.0
    scale = 2.0 ** np.ceil(np.log2(largest) + 1e-9)
    step = scale * 2.0**-bits
    return np.rint(array / step) * step, scale


def weighted(op: AffineOperator) -> TypeGuard[WeightedOperator]:
    return hasattr(op, "spectral_norm")


def heavy(op: AffineOperator) -> bool:
    """True of an operator that says its norm, or whose matrix would be large."""
    return weighted(op) or not hasattr(op, "matrices")


def ample(numbers: NDArray[np.floating], least: float) -> bool:
    """True where no number but 0 is smaller than `least`."""
    return not np.any((numbers != 0) & (np.abs(numbers) < least))


def round_up_sum(value: Number, terms: int) -> Number:
    """A sum or product of so many positive terms, rounded up."""
    return value * (1.0 + 8.0 * UNIT * (terms + 8))
