"""Choices by a comparison, Where(a > b, c, d) or (a > b) * c, that are activations.

The larger or smaller of two values is Max or Min. With a > b standing for x > t, two lines of x
are one hinge at t, with a jump where they do not meet; PyTorch's Softplus, x above a threshold, is
kept where its jump of log(1 + exp(-t)) is below rounding. All other choices are left to the rules,
as products with a step.
"""

from dataclasses import dataclass
from math import isclose

import numpy as np
import onnx_ir as ir

from graphprune.canonical.patterns.algebra import line, multiple, roots, scalar, substitute
from graphprune.canonical.patterns.gelu import OUTER

# A hinge: (place, height there from below, slope below, slope above, jump at the place, and 1 where
# the place itself is above the jump). A Softplus: above this, its input.
HINGE, THRESHOLD = "graphprune.hinge", "graphprune.threshold"
GREATER, LESS = ("Greater", "GreaterOrEqual"), ("Less", "LessOrEqual")
# Rounding of the file's constants when lines are computed from them.
ROUNDING = 1e-14


@dataclass(frozen=True, eq=False)
class _Choice:
    """`above` where large > small, `below` elsewhere (None: 0).

    Unless `strict`, `above` where they are equal too.
    """

    large: ir.Value
    small: ir.Value
    above: ir.Value | None
    below: ir.Value | None
    strict: bool


def recognise(graph: ir.Graph, node: ir.Node) -> None:
    """Replace a choice by the activation it is."""
    choice = _choice(node)
    if choice is None:
        return
    new = _extreme(choice) or _chosen_softplus(choice) or _hinge(choice, node)
    if new is not None:
        new.name = node.name
        substitute(graph, node, new)


def _choice(node: ir.Node) -> _Choice | None:
    if node.op_type == "Where":
        return _compared(node.inputs[0], node.inputs[1], node.inputs[2])
    if node.op_type == "Mul":
        for mask, value in (node.inputs, reversed(node.inputs)):
            cast = None if mask is None else mask.producer()
            if cast is not None and cast.op_type == "Cast":
                return _compared(cast.inputs[0], value, None)
    return None


def _compared(
    condition: ir.Value | None, yes: ir.Value | None, no: ir.Value | None
) -> _Choice | None:
    node = None if condition is None else condition.producer()
    if node is None:
        return None
    if node.op_type == "Not":
        return _compared(node.inputs[0], no, yes)
    if node.op_type not in (*GREATER, *LESS):
        return None
    left, right = node.inputs
    if left is None or right is None:
        return None
    if node.op_type in LESS:
        left, right = right, left
    return _Choice(left, right, yes, no, not node.op_type.endswith("OrEqual"))


def _extreme(choice: _Choice) -> ir.Node | None:
    """Max or Min of two values."""
    pair = [choice.large, choice.small]
    if choice.above is choice.large and choice.below is choice.small:
        return ir.node("Max", pair)
    if choice.above is choice.small and choice.below is choice.large:
        return ir.node("Min", pair)
    return None


def _turn(choice: _Choice, root: ir.Value) -> tuple[float, bool] | None:
    """(t, up): the condition is root > t, or root < t where `up` is False."""
    large, small = line(choice.large, root), line(choice.small, root)
    if large is None or small is None or large[1] == small[1]:
        return None
    slope = large[1] - small[1]
    return (small[0] - large[0]) / slope, slope > 0


def _roots(choice: _Choice) -> list[ir.Value]:
    """Values that the comparison may be one of."""
    return [v for side in (choice.large, choice.small) if scalar(side) is None for v in roots(side)]


def _chosen_softplus(choice: _Choice) -> ir.Node | None:
    """Where(k x > t, x, softplus(k x) / k)."""
    for straight, curved, flip in (
        (choice.above, choice.below, False),
        (choice.below, choice.above, True),
    ):
        for curve in roots(curved):
            softplus = curve.producer()
            outer = multiple(curved, curve)
            if softplus is None or softplus.op_type != "Softplus" or outer is None:
                continue
            inner = softplus.inputs[0]
            threshold = _threshold(choice, straight, inner, outer, flip)
            if inner is None or threshold is None:
                continue
            jump = float(np.logaddexp(0.0, -threshold))
            # A jump below the rounding of float32 is enclosed; a solver sees no such jump.
            if jump > float(np.spacing(np.float32(threshold))):
                continue
            return ir.node("Softplus", [inner], {THRESHOLD: threshold, OUTER: outer})
    return None


def _threshold(
    choice: _Choice, straight: ir.Value | None, inner: ir.Value | None, outer: float, flip: bool
) -> float | None:
    """t where `straight`, which is outer * inner, is taken if and only if inner > t."""
    for root in roots(inner):
        turn, factor, slope = _turn(choice, root), multiple(inner, root), multiple(straight, root)
        if turn is None or factor is None or slope is None:
            continue
        place, up = turn
        if isclose(slope, outer * factor, rel_tol=ROUNDING) and (up != flip) == (factor > 0):
            return place * factor
    return None


def _hinge(choice: _Choice, node: ir.Node) -> ir.Node | None:
    """Two lines of one value, one on either side of the place where the comparison changes."""
    for root in _roots(choice):
        turn = _turn(choice, root)
        yes = line(choice.above, root)
        no = (0.0, 0.0) if node.op_type == "Mul" else line(choice.below, root)
        if turn is None or yes is None or no is None:
            continue
        place, up = turn
        ends = yes[0] + yes[1] * place, no[0] + no[1] * place
        size = sum(abs(offset) + abs(slope * place) for offset, slope in (yes, no))
        (low, high), slopes = (ends[::-1], (no[1], yes[1])) if up else (ends, (yes[1], no[1]))
        jump = 0.0 if abs(high - low) <= ROUNDING * size else high - low
        # At the place itself the condition holds unless it is strict.
        closed = float(up != choice.strict)
        return ir.node("Where", [root], {HINGE: (place, low, *slopes, jump, closed)})
    return None
