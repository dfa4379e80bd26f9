"""Compiled kernels, made ready before any clock runs.

Numba compiles a kernel at its first call and keeps it on disk for later processes. On a machine
that never ran them this takes about half a minute, which must not count against a time limit of
seconds. So a tiny network goes through every kernel first: each compiles there, or is read from
disk.

`verify` keeps a limit that includes everything, so it never waits for this: on such a machine it
may answer ``timeout`` until an installation, or a run with a longer limit, has compiled.
"""

from functools import cache
from itertools import pairwise
from time import monotonic

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.relaxation.condensed import bounds_of
from graphprune.backends.relaxation.node_lp import solve_node
from graphprune.backends.relaxation.subproblem import CondensedRegion, Subproblem
from graphprune.backends.search.radius_step import prove_radius
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.bounds.certify import certify, margin_rows
from graphprune.canonical import from_proto
from graphprune.progress import Progress, quiet
from graphprune.region import Anchor, Domain
from graphprune.runtime.jit import told_of_compiling
from graphprune.runtime.resources import Resources

# Radius of a ball on which the tiny network needs every part of the search, and few nodes.
RADIUS = 0.2


def warm_up(progress: Progress = quiet) -> None:
    """Compile the kernels of bounds and search, or read them from disk; once per process."""
    with told_of_compiling(cache(progress)):  # once, not for every kernel
        _run()


@cache
def _run() -> None:
    network = from_proto(_model())
    rng = np.random.default_rng(0)
    anchor = Anchor(rng.uniform(0.3, 0.7, network.input_shape).astype(np.float32), 0)
    certify(network, anchor, method="crown", upper=RADIUS)
    certify(network, anchor, method="alpha-crown", upper=RADIUS)
    certify(network, anchor, method="crown", norm="l2", upper=RADIUS)
    interval = DistanceInterval(DistanceProblem(network, anchor, Domain(), RADIUS), progress=quiet)
    prove_radius(interval, Resources(), RADIUS, level=1)
    # A case that is left to a linear program, which a tree may or may not meet.
    ball = anchor.ball(RADIUS, Domain())
    bounds = bounds_of(pre_activation_bounds(network, Boxes.of(ball)))
    region = CondensedRegion.of(network, ball, bounds)
    case = Subproblem.of(region, margin_rows(network, 0)[0]).optimised()
    solve_node(case, np.zeros(case.neurons, np.int8))


def warm_verify() -> None:
    """Compile what `verify` needs besides the kernels of `warm_up`."""
    from graphprune.backends.verify.inputs import split_inputs
    from graphprune.backends.verify.query import VerificationQuery
    from graphprune.vnnlib import parse_property

    network = from_proto(_model())
    names = [f"X_{i}" for i in range(6)] + [f"Y_{j}" for j in range(3)]
    text = [f"(declare-const {name} Real)" for name in names]
    text += [f"(assert (>= {x} 0.3)) (assert (<= {x} 0.7))" for x in names[:6]]
    prop = parse_property(" ".join([*text, "(assert (>= Y_1 Y_0))"]))
    split_inputs(VerificationQuery.of(network, prop.regions[0], monotonic() + 60.0))


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


if __name__ == "__main__":  # what an installation runs, so that the first use is quick
    warm_up(print)
    warm_verify()
