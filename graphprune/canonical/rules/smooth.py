"""Smooth activations, which the dialect keeps."""

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.patterns.choice import THRESHOLD
from graphprune.canonical.patterns.gelu import CUBE, INNER, OUTER
from graphprune.canonical.rules.arithmetic import scale
from graphprune.ir.network import Activation
from graphprune.operators import Gelu, GeluTanh, Sigmoid, Softplus, Tanh
from graphprune.operators import gelu as gelus

KEPT: dict[str, Activation] = {"Sigmoid": Sigmoid(), "Tanh": Tanh()}


@legalises("Sigmoid", "Tanh")
def smooth(context: Context, node: ir.Node) -> Tracked:
    """Kept; bounded by tangents and chords."""
    x = context.computed(node, 0)
    return context.emit(KEPT[node.op_type], x, layout=x.layout, node=node)


@legalises("Softplus")
def softplus(context: Context, node: ir.Node) -> Tracked:
    """Kept, also where a file writes it as log(1 + exp(x)) or takes x above a threshold t (the
    jump of log(1 + exp(-t)) is enclosed); bounded by tangents and chords."""
    threshold = float(node.attributes.get_float(THRESHOLD, np.inf))
    return _scaled(context, node, Softplus(threshold))


@legalises("Gelu")
def gelu(context: Context, node: ir.Node) -> Tracked:
    """Kept, also where a file writes it as x/2 (1 + erf(x/c)) or x/2 (1 + tanh(a x + b x^3));
    bounded by tangents and chords."""
    if node.attributes.get_string("approximate", "none") == "tanh":
        cube = float(node.attributes.get_float(CUBE, gelus.CUBE))
        return _scaled(context, node, GeluTanh(cube))
    return _scaled(context, node, Gelu())


def _scaled(context: Context, node: ir.Node, curve: Activation) -> Tracked:
    """outer * curve(inner * x)."""
    x = context.computed(node, 0)
    inner, outer = (float(node.attributes.get_float(name, 1.0)) for name in (INNER, OUTER))
    if inner != 1.0:
        x = scale(context, node, x, np.array(inner))
    out = context.emit(curve, x, layout=x.layout, node=node)
    return out if outer == 1.0 else scale(context, node, out, np.array(outer))
