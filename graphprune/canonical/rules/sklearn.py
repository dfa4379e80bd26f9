"""Operators of scikit-learn exports (domain ai.onnx.ml) that are affine."""

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import plus, times
from graphprune.ir.source import Layout

ML = "ai.onnx.ml"


@legalises("Scaler", domain=ML)
def scaler(context: Context, node: ir.Node) -> Tracked:
    """(x - offset) * scale, per feature."""
    x = context.computed(node, 0)
    offset = np.array(node.attributes.get_floats("offset", (0.0,)), dtype=np.float64)
    scale = np.array(node.attributes.get_floats("scale", (1.0,)), dtype=np.float64)
    return times(context, node, plus(context, node, x, -offset), scale)


@legalises("Imputer", domain=ML)
def imputer(context: Context, node: ir.Node) -> Tracked:
    """x, where it replaces NaN: inputs are finite."""
    replaced = node.attributes.get_float("replaced_value_float", 0.0)
    if not np.isnan(replaced):
        raise context.fail(
            node, f"replaces the number {replaced:g}, where its value jumps; impute before the"
            " network, or mark what is missing by NaN"
        )  # fmt: skip
    return context.computed(node, 0)


@legalises("ArrayFeatureExtractor", domain=ML)
def array_feature_extractor(context: Context, node: ir.Node) -> Tracked:
    """The cells of constant indices along the last axis."""
    x = context.computed(node, 0)
    index = context.need_constant(node, 1, "indices").astype(np.int64)
    if len(x.layout.shape) == 1:
        x = context.relayout(x, Layout((1, *x.layout.shape), None))
    return context.gather(x, len(x.layout.shape) - 1, index, node, output=0)
