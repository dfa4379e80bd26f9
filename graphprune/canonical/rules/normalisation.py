"""BatchNormalization at inference: one factor and one offset per channel."""

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import scale, shift


@legalises("BatchNormalization")
def batch_normalization(context: Context, node: ir.Node) -> Tracked:
    """s x + (b - s m) with s = gamma / sqrt(variance + epsilon), per channel."""
    # Before opset 14 more outputs than one say it.
    statistics = context.opset < 14 and any(out.name for out in node.outputs[1:])
    if node.attributes.get_int("training_mode", 0) or statistics:
        raise context.fail(node, "is in training mode; export the model with eval()")
    x = context.batch_first(context.computed(node, 0), node)
    if not x.layout.sample:
        raise context.fail(node, "its input has no channel axis")
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (
        context.need_constant(node, i + 1, name).astype(np.float64) for i, name in enumerate(names)
    )
    total = variance + context.number(node, "epsilon", 1e-5)
    if np.any(total <= 0):
        raise context.fail(node, "has a variance that is not positive")
    factor = gamma / np.sqrt(total)
    channel = (-1, *(1 for _ in x.layout.sample[1:]))
    scaled = scale(context, node, x, factor.reshape(channel))
    return shift(context, node, scaled, (beta - mean * factor).reshape(channel))
