"""Smooth activations, which the dialect keeps."""

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.patterns import INNER, OUTER
from graphprune.canonical.rules.arithmetic import scale
from graphprune.ir.network import Activation
from graphprune.operators import Gelu, GeluTanh, Sigmoid, Softplus, Tanh

KEPT: dict[str, Activation] = {"Sigmoid": Sigmoid(), "Softplus": Softplus(), "Tanh": Tanh()}


@legalises("Sigmoid", "Softplus", "Tanh")
def smooth(context: Context, node: ir.Node) -> Tracked:
    """Kept; bounded by tangents and chords."""
    x = context.computed(node, 0)
    return context.emit(KEPT[node.op_type], x, layout=x.layout, node=node)


@legalises("Gelu")
def gelu(context: Context, node: ir.Node) -> Tracked:
    """Kept, also where a file writes it as x/2 (1 + erf(x/c)); bounded by tangents and chords."""
    x = context.computed(node, 0)
    inner, outer = (float(node.attributes.get_float(name, 1.0)) for name in (INNER, OUTER))
    tanh = node.attributes.get_string("approximate", "none") == "tanh"
    if inner != 1.0:
        x = scale(context, node, x, np.array(inner))
    out = context.emit(GeluTanh() if tanh else Gelu(), x, layout=x.layout, node=node)
    return out if outer == 1.0 else scale(context, node, out, np.array(outer))
