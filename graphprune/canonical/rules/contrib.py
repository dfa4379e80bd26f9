"""Operators of ONNX Runtime's own domain that optimised files hold: fused GELUs, Gemm, Conv."""

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import RUNTIME, Context, Tracked, legalises
from graphprune.canonical.rules.activation import clip_to, clipped_line, leaky
from graphprune.canonical.rules.arithmetic import plus, scale, total
from graphprune.canonical.rules.convolution import conv
from graphprune.canonical.rules.linear import gemm
from graphprune.functions import Gelu, GeluTanh, Sigmoid, Silu, Tanh
from graphprune.ir.network import Activation
from graphprune.operators import Relu

# Activations without parameters that fused operators name.
FUSED: dict[str, Activation] = {"Relu": Relu(), "Sigmoid": Sigmoid(), "Tanh": Tanh()}


@legalises("FastGelu", "BiasGelu", domain=RUNTIME)
def bias_gelu(context: Context, node: ir.Node) -> Tracked:
    """GELU of x + b: by tanh (FastGelu, b may be missing) or exact (BiasGelu)."""
    x = context.computed(node, 0)
    if context.has(node, 1):
        bias = context.constant(node, 1)
        if bias is None:
            x = total(context, node, x, context.computed(node, 1))
        else:
            x = plus(context, node, x, bias)
    curve = GeluTanh() if node.op_type == "FastGelu" else Gelu()
    return context.emit(curve, x, layout=x.layout, node=node)


@legalises("QuickGelu", domain=RUNTIME)
def quick_gelu(context: Context, node: ir.Node) -> Tracked:
    """x sigmoid(a x) = silu(a x) / a."""
    alpha, x = context.number(node, "alpha", 1.702), context.computed(node, 0)
    if alpha == 0.0:
        return scale(context, node, x, np.array(0.5))
    curve = context.emit(
        Silu(), inner := scale(context, node, x, np.array(alpha)), layout=inner.layout
    )
    return scale(context, node, curve, np.array(1.0 / alpha))


@legalises("FusedGemm", domain=RUNTIME)
def fused_gemm(context: Context, node: ir.Node) -> Tracked:
    """Gemm, and the activation that its attributes name."""
    parameters = [
        context.number(node, f"activation_{name}", 0.0)
        for name in ("alpha", "beta")
        if f"activation_{name}" in node.attributes
    ]
    return _activated(context, node, gemm(context, node), parameters)


@legalises("FusedConv", domain=RUNTIME)
def fused_conv(context: Context, node: ir.Node) -> Tracked:
    """Conv, a computed value that is added (if any), and the activation of its attributes."""
    x = conv(context, node)
    if context.has(node, 3):
        x = total(context, node, x, context.computed(node, 3))
    return _activated(context, node, x, list(node.attributes.get_floats("activation_params", ())))


def _activated(context: Context, node: ir.Node, x: Tracked, parameters: list[float]) -> Tracked:
    name = node.attributes.get_string("activation", "")
    if not name:
        return x
    if name in FUSED:
        return context.emit(FUSED[name], x, layout=x.layout, node=node)
    if name == "LeakyRelu":
        return leaky(context, node, x, np.array(parameters[0] if parameters else 0.01))
    if name == "Clip" and len(parameters) == 2:
        return clip_to(context, node, x, *parameters)
    if name == "HardSigmoid" and len(parameters) == 2:
        return clipped_line(context, node, x, *parameters)
    raise context.fail(node, f"its activation {name} is not supported: optimise without fusing")
