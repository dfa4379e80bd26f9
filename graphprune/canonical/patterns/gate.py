"""Products of a value with a gate of the same value: SiLU, HardSwish, Mish, written in parts.

With f x the value and k x what the gate reads, these hold exactly for the constants of the file:

    f x sigmoid(k x)             = (f / k) silu(k x)
    f x (p clip(a x + b) + q)    = (f h / k) hardswish(k x), k = 6 p a / h, where the gate rises
                                   from 0 to h and is h / 2 at 0
    f x tanh(softplus(k x))      = (f / k) mish(k x)
"""

from math import isclose

import numpy as np
import onnx_ir as ir

from graphprune.canonical.patterns.algebra import line, multiple, roots, scalar, substitute
from graphprune.canonical.patterns.choice import THRESHOLD
from graphprune.canonical.patterns.gelu import INNER, OUTER

# Rounding of the file's constants when numbers are computed from them.
ROUNDING = 1e-12
# From this threshold of a Softplus on its tanh is 1 in float64, whatever is taken.
SATURATED = 20.0

# (operator, inner, outer / factor)
Found = tuple[str, float, float]


def recognise(graph: ir.Graph, node: ir.Node) -> None:
    """Replace a product that is one of these functions."""
    if node.op_type != "Mul":
        return
    for value, gate in (node.inputs, reversed(node.inputs)):
        for root in roots(value):
            factor = multiple(value, root)
            found = None if factor is None else _gate(gate, root)
            if factor is not None and found is not None:
                op_type, inner, outer = found
                attributes = {INNER: inner, OUTER: factor * outer}
                new = ir.node(op_type, [root], attributes, name=node.name)
                substitute(graph, node, new)
                return


def _gate(gate: ir.Value | None, root: ir.Value) -> Found | None:
    """The function that a gate of `root` makes of `root`."""
    for curve in roots(gate):
        node, share = curve.producer(), line(gate, curve)
        if node is None or share is None or not share[1]:
            continue
        if node.op_type == "Sigmoid" and not share[0]:
            inner = multiple(node.inputs[0], root)
            return None if inner is None else ("Swish", inner, share[1] / inner)
        if node.op_type == "Tanh" and not share[0]:
            inner = _softplus(node.inputs[0], root)
            return None if inner is None else ("Mish", inner, share[1] / inner)
        ramp = _ramp(node, root)
        if ramp is not None:
            return _hard(ramp, share)
    return None


def _softplus(value: ir.Value | None, root: ir.Value) -> float | None:
    """k where a value is softplus(k root)."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Softplus":
        return None
    plain = node.attributes.get_float(OUTER, 1.0) == 1.0
    far = node.attributes.get_float(THRESHOLD, np.inf) >= SATURATED
    return multiple(node.inputs[0], root) if plain and far else None


def _ramp(node: ir.Node, root: ir.Value) -> tuple[float, float, float, float] | None:
    """(a, b, low, high) of min(max(a root + b, low), high)."""
    if node.op_type == "HardSigmoid":
        found = line(node.inputs[0], root)
        slope = node.attributes.get_float("alpha", float(np.float32(0.2)))
        offset = node.attributes.get_float("beta", 0.5)
        if found is None:
            return None
        return slope * found[1], slope * found[0] + offset, 0.0, 1.0
    if node.op_type == "Clip" and len(node.inputs) == 3:
        found, low, high = line(node.inputs[0], root), *map(scalar, node.inputs[1:])
        if found is None or low is None or high is None:
            return None
        return found[1], found[0], low, high
    return None


def _hard(ramp: tuple[float, float, float, float], share: tuple[float, float]) -> Found | None:
    """HardSwish of a ramp that is scaled and shifted by share[1] and share[0]."""
    slope, offset, low, high = ramp
    bottom, height, middle = (share[0] + share[1] * at for at in (low, high, offset))
    rise = share[1] * slope
    fits = abs(bottom) <= ROUNDING * abs(height) and isclose(middle, height / 2, rel_tol=ROUNDING)
    if not fits or not height * rise > 0.0:
        return None
    inner = 6.0 * rise / height
    return "HardSwish", inner, height / inner
