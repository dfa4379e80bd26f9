"""Operators of scikit-learn exports (domain ai.onnx.ml) that are affine."""

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import plus, times

ML = "ai.onnx.ml"


@legalises("Scaler", domain=ML)
def scaler(context: Context, node: ir.Node) -> Tracked:
    """(x - offset) * scale, per feature."""
    x = context.computed(node, 0)
    offset = np.array(node.attributes.get_floats("offset", (0.0,)), dtype=np.float64)
    scale = np.array(node.attributes.get_floats("scale", (1.0,)), dtype=np.float64)
    return times(context, node, plus(context, node, x, -offset), scale)
