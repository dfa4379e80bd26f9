"""Closed forms of one norm as graphs: the shortest step into a half-space, steps inside a ball.

Steps are (N, n) rows; each function adds its operators (of opset 18 or later) to a builder.
"""

import numpy as np
import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.region import Norm

# Newton steps on how far every element moves: from 0 they never pass the root. Too few leave a
# step that is too short; most take 3, in l2 (where sides of the box are met one by one) up to 12.
NEWTON: dict[Norm, int] = {"linf": 6, "l2": 12}
# What no step of any use comes near; also stands for caps and multipliers without end.
HUGE = 1e30
TINY = 1e-37


def lengths(b: GraphBuilder, norm: Norm, steps: ir.Value) -> ir.Value:
    """Norms (N, 1)."""
    if norm == "linf":
        return _largest(b, b.op("Abs", [steps]))
    if norm == "l1":
        return _sum(b, b.op("Abs", [steps]))
    return b.op("ReduceL2", [steps, b.ints([1])], {"keepdims": 1})


def nearest(
    b: GraphBuilder,
    norm: Norm,
    constants: ir.Value,
    gradients: ir.Value,
    lower: ir.Value,
    upper: ir.Value,
    size: int,
) -> ir.Value:
    """Shortest steps y (N, n), lower <= y <= upper, with constants + gradients . y <= 0.

    Where the bounds do not reach the half-space, the step that comes closest to it; zero where
    that is no number. The projection of DeepFool (Moosavi-Dezfooli et al. 2016) and FAB (Croce and
    Hein 2020), with a box.

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
    unit = b.op("Max", [_largest(b, slopes), b.scalar(TINY)])
    slopes, constants = b.op("Div", [slopes, unit]), b.op("Div", [constants, unit])
    # Every element moves against its gradient, by at most its cap.
    falling = b.op("Greater", [gradients, b.scalar(0.0)])
    caps = b.op("Where", [falling, b.op("Neg", [lower]), upper])
    caps = b.op("Min", [caps, b.scalar(HUGE)])
    if norm == "l1":
        moves = _greedy(b, constants, slopes, caps, size)
    else:
        moves = _uniform(b, norm, constants, slopes, caps)
    sensible = b.op("Less", [moves, b.scalar(HUGE)])  # NaN is not
    moves = b.op("Where", [sensible, moves, b.scalar(0.0)])
    return b.op("Where", [falling, b.op("Neg", [moves]), moves])


def _uniform(
    b: GraphBuilder, norm: Norm, constants: ir.Value, slopes: ir.Value, caps: ir.Value
) -> ir.Value:
    """Moves min(t speed, caps) with the least t that reaches the half-space; the speed is one for
    L-infinity (where there is a slope), the slope in l2."""
    zero = b.scalar(0.0)
    if norm == "linf":
        caps = b.op("Where", [b.op("Greater", [slopes, zero]), caps, zero])
        gains = slopes
    else:
        gains = b.op("Mul", [slopes, slopes])
    ends = b.op("Mul", [slopes, caps])
    # From t = 0 every element that can move is free.
    free = b.op("Greater", [caps, zero])
    t: ir.Value | None = None
    for _ in range(NEWTON[norm]):
        gain = _sum(b, b.op("Where", [free, gains, zero]))
        rest = b.op("Sub", [constants, _sum(b, b.op("Where", [free, zero, ends]))])
        ratio = b.op("Div", [rest, b.op("Max", [gain, b.scalar(TINY)])])
        t = b.op("Min", [b.op("Max", [ratio, t or zero]), b.scalar(HUGE)])
        moves = t if norm == "linf" else b.op("Mul", [t, slopes])
        free = b.op("Less", [moves, caps])
    return b.op("Min", [moves, caps])


def _greedy(
    b: GraphBuilder, constants: ir.Value, slopes: ir.Value, caps: ir.Value, size: int
) -> ir.Value:
    """Elements in the order of their slopes, each to its cap until the half-space is reached."""
    ordered, order = _sorted(b, slopes, size)
    gains = b.op("Mul", [ordered, b.op("GatherElements", [caps, order], {"axis": 1})])
    before = b.op("CumSum", [gains, b.constant(np.array(1))], {"exclusive": 1})
    wanted = b.op("Relu", [b.op("Sub", [b.op("Relu", [constants]), before])])
    wanted = b.op("Min", [wanted, gains])
    sorted_moves = b.op("Div", [wanted, b.op("Max", [ordered, b.scalar(TINY)])])
    none = b.op("Mul", [caps, b.scalar(0.0)])
    moves = b.op("ScatterElements", [none, order, sorted_moves], {"axis": 1})
    return b.op("Min", [moves, caps])


def steepest(b: GraphBuilder, norm: Norm, gradients: ir.Value, size: int) -> ir.Value:
    """Steps (N, n) of length one against the gradients; in l1 along the largest 1 % of elements
    (Tramèr and Boneh 2019), since a single one would zigzag."""
    if norm == "linf":
        return b.op("Neg", [b.op("Sign", [gradients])])
    slopes = b.op("Abs", [gradients])
    steps = b.op("Neg", [gradients])
    if norm == "l1":
        largest = _sorted(b, slopes, max(1, size // 100))[0]
        least = b.op("ReduceMin", [largest, b.ints([1])], {"keepdims": 1})
        chosen = b.op("Not", [b.op("Less", [slopes, least])])
        steps = b.op("Where", [chosen, b.op("Sign", [steps]), b.scalar(0.0)])
    else:
        # Squares of what is largest must not overflow, nor those of small gradients vanish.
        steps = b.op("Div", [steps, b.op("Max", [_largest(b, slopes), b.scalar(TINY)])])
    return b.op("Div", [steps, b.op("Max", [lengths(b, norm, steps), b.scalar(TINY)])])


def into_ball(
    b: GraphBuilder, norm: Norm, steps: ir.Value, radius: ir.Value, size: int
) -> ir.Value:
    """The nearest steps (N, n) in the Euclidean sense whose length is at most `radius` (scalar)."""
    if norm == "linf":
        return b.op("Min", [b.op("Max", [steps, b.op("Neg", [radius])]), radius])
    far = lengths(b, norm, steps)
    if norm == "l2":
        return b.op("Mul", [steps, b.op("Div", [radius, b.op("Max", [far, radius])])])
    # Soft thresholding, the threshold from the sorted sizes (Duchi et al. 2008): the largest of
    # those that k elements would need.
    ordered, _ = _sorted(b, b.op("Abs", [steps]), size)
    excess = b.op("Sub", [b.op("CumSum", [ordered, b.constant(np.array(1))]), radius])
    counts = b.constant(np.arange(1.0, size + 1))
    threshold = b.op("Relu", [_largest(b, b.op("Div", [excess, counts]))])
    shrunk = b.op("Relu", [b.op("Sub", [b.op("Abs", [steps]), threshold])])
    return b.op("Mul", [b.op("Sign", [steps]), shrunk])


def _largest(b: GraphBuilder, values: ir.Value) -> ir.Value:
    return b.op("ReduceMax", [values, b.ints([1])], {"keepdims": 1})


def _sum(b: GraphBuilder, values: ir.Value) -> ir.Value:
    return b.op("ReduceSum", [values, b.ints([1])], {"keepdims": 1})


def _sorted(b: GraphBuilder, values: ir.Value, count: int) -> tuple[ir.Value, ir.Value]:
    """The `count` largest of each row (N, count), in falling order, and where they are."""
    node = ir.node("TopK", [values, b.ints([count])], {"axis": 1}, num_outputs=2)
    for value in node.outputs:
        value.name = b.fresh("TopK")
    b.nodes.append(node)
    return node.outputs[0], node.outputs[1]
