"""The kernels of bounds, compiled before any clock runs; and the network for it.

Numba compiles a kernel at its first call and keeps it on disk for later processes. On a machine
that never ran it this takes many seconds, which must not count against a time limit. So a tiny
network goes through the kernels that a computation needs first, and through no others: each
compiles there, or is read from disk.
"""

from functools import cache
from itertools import pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from graphprune.bounds.problem import Boxes, Method
from graphprune.bounds.propagate import linear_bounds, pre_activation_bounds
from graphprune.canonical import from_proto
from graphprune.ir import Network
from graphprune.progress import Progress, quiet
from graphprune.region import LINF, Anchor, Domain, Norm
from graphprune.runtime.jit import told_of_compiling

# Radius of a ball on which the tiny network needs every part of a search, and few nodes.
RADIUS = 0.2


def warm_bounds(
    method: Method = "crown", progress: Progress = quiet, norm: Norm = LINF
) -> None:  # fmt: skip
    """Compile the kernels of a method's bounds, or read them from disk; once per process.

    Those for balls that are no boxes are others.
    """
    with told_of_compiling(progress):
        # The methods share their kernels; one of them optimises besides.
        _run("crown", norm)
        if method == "alpha-crown":
            _run(method, norm)


@cache
def _run(method: Method, norm: Norm) -> None:
    network, anchor = tiny()
    boxes = Boxes.of(anchor.ball(RADIUS, Domain(), norm))
    layers = pre_activation_bounds(network, boxes)
    rows = np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]])
    linear_bounds(network, boxes, layers, rows, method)


@cache
def tiny() -> tuple[Network, Anchor]:
    """A small network with a point of its first class that wins narrowly."""
    network = from_proto(_model())
    rng = np.random.default_rng(0)
    x = rng.uniform(0.3, 0.7, network.input_shape).astype(np.float32)
    return network, Anchor(x, 0)


def _model() -> onnx.ModelProto:
    """Three hidden layers whose neurons are unstable and whose first class wins narrowly."""
    rng = np.random.default_rng(1)
    widths = (6, 24, 24, 16, 3)
    nodes, tensors, last = [], [], "x"
    for k, (n, m) in enumerate(pairwise(widths)):
        weight = rng.normal(0, 1.2 / np.sqrt(n), (m, n))
        bias = np.zeros(m)
        if m == widths[-1]:
            bias[0] = 0.05
        for name, array in ((f"w{k}", weight), (f"b{k}", bias)):
            tensors.append(numpy_helper.from_array(array.astype(np.float32), name))
        nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [f"z{k}"], transB=1))
        last = f"z{k}"
        if m != widths[-1]:
            nodes.append(helper.make_node("Relu", [last], [f"h{k}"]))
            last = f"h{k}"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", widths[0]])
    y = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", widths[-1]])
    graph = helper.make_graph(nodes, "warm", [x], [y], tensors)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
