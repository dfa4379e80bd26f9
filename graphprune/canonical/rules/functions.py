"""Scalar functions, which the dialect keeps."""

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import RUNTIME, Context, Tracked, legalises
from graphprune.canonical.patterns.choice import THRESHOLD
from graphprune.canonical.patterns.gelu import CUBE, INNER, OUTER
from graphprune.canonical.rules.arithmetic import scale
from graphprune.functions import (
    Atan,
    Ceil,
    Cos,
    Cosh,
    Elu,
    Erf,
    Exp,
    Floor,
    Gelu,
    GeluTanh,
    HardSwish,
    Log,
    Mish,
    NearestInteger,
    Reciprocal,
    Selu,
    Sigmoid,
    Sign,
    Silu,
    Sin,
    Sinh,
    Softplus,
    Softsign,
    Sqrt,
    Tanh,
)
from graphprune.functions import (
    gelu as gelus,
)
from graphprune.ir.network import Activation

KEPT: dict[str, Activation] = {
    "Atan": Atan(),
    "Cos": Cos(),
    "Cosh": Cosh(),
    "Erf": Erf(),
    "Exp": Exp(),
    "Log": Log(),
    "Reciprocal": Reciprocal(),
    "Sigmoid": Sigmoid(),
    "Sin": Sin(),
    "Sinh": Sinh(),
    "Softsign": Softsign(),
    "Sqrt": Sqrt(),
    "Tanh": Tanh(),
}


@legalises(*KEPT)
def kept(context: Context, node: ir.Node) -> Tracked:
    """Kept; bounded by tangents and chords where it is defined."""
    x = context.computed(node, 0)
    return context.emit(KEPT[node.op_type], x, layout=x.layout, node=node)


JUMPS: dict[str, Activation] = {
    "Ceil": Ceil(), "Floor": Floor(), "Round": NearestInteger(), "Sign": Sign(),
}  # fmt: skip


@legalises(*JUMPS)
def jump(context: Context, node: ir.Node) -> Tracked:
    """Kept; bounded by constants, attacked through the derivative of a curve that rises alike. A
    distance is then an infimum."""
    x = context.computed(node, 0)
    return context.emit(JUMPS[node.op_type], x, layout=x.layout, node=node)


@legalises("Softplus")
def softplus(context: Context, node: ir.Node) -> Tracked:
    """Kept, also where a file writes it as log(1 + exp(x)) or takes x above a threshold t (the
    jump of log(1 + exp(-t)) is enclosed); bounded by tangents and chords."""
    threshold = float(node.attributes.get_float(THRESHOLD, np.inf))
    return _scaled(context, node, Softplus(threshold))


@legalises("Gelu")
@legalises("Gelu", domain=RUNTIME)
def gelu(context: Context, node: ir.Node) -> Tracked:
    """Kept, also where a file writes it as x/2 (1 + erf(x/c)) or x/2 (1 + tanh(a x + b x^3));
    bounded by tangents and chords."""
    if node.attributes.get_string("approximate", "none") == "tanh":
        cube = float(node.attributes.get_float(CUBE, gelus.CUBE))
        return _scaled(context, node, GeluTanh(cube))
    return _scaled(context, node, Gelu())


@legalises("Swish")
def swish(context: Context, node: ir.Node) -> Tracked:
    """SiLU, kept, also where a file writes it as x sigmoid(a x); bounded by tangents and chords."""
    alpha = context.number(node, "alpha", 1.0)
    if alpha == 0.0:
        return scale(context, node, context.computed(node, 0), np.array(0.5))
    return _scaled(context, node, Silu(), alpha, 1.0 / alpha)


@legalises("HardSwish")
def hard_swish(context: Context, node: ir.Node) -> Tracked:
    """Kept, also where a file writes it as x hardsigmoid(x) or x relu6(x + 3) / 6; bounded by
    tangents and chords."""
    return _scaled(context, node, HardSwish())


@legalises("Mish")
def mish(context: Context, node: ir.Node) -> Tracked:
    """Kept, also where a file writes it as x tanh(softplus(x)); bounded by tangents and chords."""
    return _scaled(context, node, Mish())


@legalises("Elu", "Celu")
def elu(context: Context, node: ir.Node) -> Tracked:
    """Kept: a (exp(x / w) - 1) below 0, w = 1 (Elu) or a (Celu); bounded by tangents and chords."""
    alpha = context.number(node, "alpha", 1.0)
    if not alpha > 0.0:
        raise context.fail(node, f"its alpha must be positive, not {alpha:g}")
    x = context.computed(node, 0)
    width = alpha if node.op_type == "Celu" else 1.0
    return context.emit(Elu(alpha, width), x, layout=x.layout, node=node)


@legalises("Selu")
def selu(context: Context, node: ir.Node) -> Tracked:
    """Kept; bounded by tangents and chords."""
    alpha = context.number(node, "alpha", Selu().alpha)
    gamma = context.number(node, "gamma", Selu().gamma)
    if not (alpha > 0.0 and gamma > 0.0):
        raise context.fail(node, f"its alpha and gamma must be positive, not {alpha:g}, {gamma:g}")
    x = context.computed(node, 0)
    return context.emit(Selu(alpha, gamma), x, layout=x.layout, node=node)


def _scaled(
    context: Context, node: ir.Node, curve: Activation, inner: float = 1.0, outer: float = 1.0
) -> Tracked:
    """outer * curve(inner * x), with the factors that a pattern noted."""
    x = context.computed(node, 0)
    inner *= float(node.attributes.get_float(INNER, 1.0))
    outer *= float(node.attributes.get_float(OUTER, 1.0))
    if inner != 1.0:
        x = scale(context, node, x, np.array(inner))
    out = context.emit(curve, x, layout=x.layout, node=node)
    return out if outer == 1.0 else scale(context, node, out, np.array(outer))
