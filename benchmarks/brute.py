"""The search for distances on small random networks, against mixed-integer programs.

    python -m benchmarks.brute [--first N] [--count N] [--seed S] [--only N] [--seconds S]

Networks of every piecewise linear operator, with equal weights, neurons that are twice there, dead
ones, and boxes of unequal sides. Every fourth network is searched with effort levels of a few
nodes, so that all techniques are used, every eighth one by two processes. A lower end is wrong
where a point nearer than it is adversarial in float64 by more than rounding, an exact distance
where such a point is nearer than its upper end. ``--seed S --only N`` replays a network. Limits are
processor seconds where one process searches.
"""

import argparse
import logging
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from time import monotonic, process_time
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from benchmarks.exact import processor_limits, with_settings
from benchmarks.hunt import BLOCK, block, rescaled
from benchmarks.milp import MOST, Program
from graphprune.backends.relaxation.tighten import ConstrainedSettings
from graphprune.backends.search import process_pool, scheduler, worker_group
from graphprune.backends.search.settings import DEFAULT, EffortLevel, SearchSettings
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.testing import many_operator_models, models

Floats = NDArray[np.float64]
# A margin above this share of the largest number in a network is no rounding of float64.
CLEAR = 1e-9
LIMIT = 10.0
# The distance of the farthest box where there is no domain.
FAR = 4.0


class Writer:
    """A dense network of small layers, written operator by operator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.inputs = int(rng.integers(1, 5))
        self.last, self.width = "x", self.inputs
        # Weights on a coarse grid tie; others do not.
        self.grid = bool(rng.random() < 0.5)

    def constant(self, array: object) -> str:
        name = f"w{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def drawn(self, *shape: int) -> Floats:
        found = self.rng.normal(0, 1, shape)
        return np.round(2 * found) / 2 if self.grid else found

    def affine(self, width: int) -> None:
        """A dense layer, some of whose rows are equal, opposite, zero or without effect."""
        weight, bias = self.drawn(width, self.width), 0.5 * self.drawn(width)
        for row in range(1, width):
            kind = self.rng.random()
            if kind < 0.12:
                weight[row], bias[row] = weight[row - 1], bias[row - 1]
            elif kind < 0.18:
                weight[row], bias[row] = -weight[row - 1], -bias[row - 1]
            elif kind < 0.24:
                bias[row] -= 100.0
            elif kind < 0.28:
                weight[row] = 0.0
        self.last = self.node(
            "Gemm", self.last, self.constant(weight), self.constant(bias), transB=1
        )
        self.width = width

    def bend(self) -> None:
        """A piecewise linear operator on the last value."""
        kind = self.rng.choice(["Relu"] * 4 + ["LeakyRelu", "PRelu", "Clip", "Abs", "Max", "Min",
                                "HardSigmoid", "Pool", "Concat", "Add", "Both"])  # fmt: skip
        x, width = self.last, self.width
        if kind in ("Relu", "Abs"):
            self.last = self.node(kind, x)
        elif kind in ("LeakyRelu", "HardSigmoid"):
            self.last = self.node(kind, x, alpha=float(self.rng.choice([0.125, 0.5, 1.5])))
        elif kind == "PRelu":
            self.last = self.node(kind, x, self.constant(self.drawn(width)))
        elif kind == "Clip":
            ends = [(0.0, 1.0), (-0.5, 0.5), (-1.0, None), (None, 0.5)][self.rng.integers(4)]
            self.last = self.node(kind, x, *("" if e is None else self.constant(e) for e in ends))
        elif kind in ("Max", "Min"):
            self.last = self.node(kind, x, self.constant(self.drawn(1, width)))
        elif kind == "Pool":
            image = self.node("Reshape", x, self._shape(1, width))
            pooled = self.node("MaxPool", image, kernel_shape=[2], strides=[1], pads=[1, 0])
            self.last = self.node("Flatten", pooled)
        else:
            bent = self.node("Relu", x)
            if kind == "Concat":
                self.last, self.width = self.node(kind, x, bent, axis=1), 2 * width
            else:
                self.last = self.node("Sub" if kind == "Both" else kind, bent, x)

    def _shape(self, *rest: int) -> str:
        name = f"w{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.array([-1, *rest], np.int64), name))
        return name

    def model(self) -> onnx.ModelProto:
        for _ in range(self.rng.integers(1, 4)):
            self.affine(int(self.rng.integers(2, 8)))
            self.bend()
        self.affine(int(self.rng.integers(2, 5)))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", self.inputs])
        y = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, ["n", self.width])
        graph = helper.make_graph(self.nodes, "dense", [x], [y], self.tensors)
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def domain_for(rng: np.random.Generator, x0: Floats) -> gp.Domain:
    """No domain, one interval for all inputs, or one each, some of them points."""
    kind = rng.choice(4, p=[0.45, 0.1, 0.1, 0.35])
    if kind == 0:
        return gp.Domain(0.0, 1.0)
    if kind == 1:
        return gp.Domain(-1.0, 2.0)
    if kind == 2:
        return gp.Domain(-np.inf, np.inf)
    sides = rng.choice([0.0, 0.03, 0.2, 1.0, 3.0], (2, *x0.shape), p=[0.1, 0.2, 0.3, 0.2, 0.2])
    return gp.Domain(x0 - sides[0], x0 + sides[1])


def eager(rng: np.random.Generator) -> SearchSettings:
    """Levels of a few nodes, planes and bounds at every one of them."""
    nodes = int(rng.integers(1, 6))
    levels = (
        EffortLevel(nodes), EffortLevel(nodes, cuts=3),
        EffortLevel(nodes, cuts=5, constrained=True),
        EffortLevel(np.inf, cuts=8, constrained=True),
    )  # fmt: skip
    few = int(rng.choice([0, 64]))
    constrained = ConstrainedSettings(neurons=int(rng.choice([2, 128])))
    tree = replace(DEFAULT.tree, refresh_splits=int(rng.integers(1, 5)), lp_splits=2, lp_share=16)
    wide = int(rng.choice([0, DEFAULT.step.wide]))
    step = replace(DEFAULT.step, levels=levels, few=few, constrained=constrained, wide=wide)
    return replace(DEFAULT, step=step, tree=tree)


@contextmanager
def forced(number: int, rng: np.random.Generator) -> Iterator[int]:
    """The search as this number is to have it; its processes."""
    with ExitStack() as stack:
        if number % 4 == 1:
            for one in with_settings(eager(rng)):
                stack.enter_context(one)
        if number % 8 == 3:
            stack.enter_context(patch.object(worker_group, "HARD", 0.0))
            stack.enter_context(patch.object(scheduler, "WORTH", 0))
            yield 2
            return
        for one in processor_limits():
            stack.enter_context(one)
        yield 1


def nearest(network: gp.Network, anchor: gp.Anchor, domain: gp.Domain, limit: float) -> float:
    """The distance of the nearest point found that clearly is adversarial; inf: none."""
    x0 = anchor.x.astype(np.float64).reshape(-1)
    low, high = (
        np.broadcast_to(end, anchor.x.shape).reshape(-1) for end in (domain.low, domain.high)
    )
    low, high = np.maximum(low, x0 - limit), np.minimum(high, x0 + limit)
    program, found = Program.of(network, low, high), np.inf
    for target in range(network.classes):
        point = program.nearest(x0, anchor.label, target) if target != anchor.label else None
        if point is None:
            continue
        # Just behind the boundary too: the program's tolerances may stop before it.
        pushes = 1 + np.array([0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4])[:, None]
        points = np.clip(x0 + pushes * (point - x0), low, high)
        logits, *values = forward64(network, points.reshape(-1, *network.input_shape))
        size = max(1e-3, *(float(np.abs(v).max(initial=0.0)) for v in (logits, *values)))
        others = np.delete(logits, anchor.label, axis=1).max(axis=1)
        wins = others - logits[:, anchor.label] > CLEAR * size
        found = min([found, *np.abs(points - x0).max(axis=1)[wins]])
    return found


def examine(number: int, base: int, drawn: onnx.ModelProto | None) -> tuple[str, list[str]]:
    """Return the end of a network's search, and what does not hold."""
    rng = np.random.default_rng([base, number])
    try:
        model = Writer(rng).model() if drawn is None else rescaled(drawn, rng)
        network = gp.from_proto(model)
    except gp.GraphpruneError as error:
        return f"refused: {type(error).__name__}", []
    neurons = network.neurons + network.auxiliary_neurons
    if any(node.op_type != "Relu" for node in network.activations) or not 0 < neurons <= MOST:
        return "of another kind or size", []
    x = rng.uniform(0.2, 0.8, network.input_shape).astype(np.float32)
    if rng.random() < 0.3:
        x = (np.round(4 * x) / 4).astype(np.float32)
    scores = run_original(network, x[None])[0]
    label = int(scores.argmax())
    anchor, domain = gp.Anchor(x, label), domain_for(rng, x.astype(np.float64))
    with forced(number, rng) as workers:
        result = gp.distance(
            network, anchor, domain=domain, solver="search", time_limit=LIMIT, workers=workers
        )
    found = []
    upper = np.inf if result.upper is None else result.upper
    least = nearest(network, anchor, domain, min(2 * upper + 1e-3, FAR))
    if not result.lower <= least * (1 + 1e-9):
        found.append(f"lower end {result.lower!r}, but a point at {least!r}")
    if not result.lower <= upper:
        found.append(f"[{result.lower!r}, {upper!r}]")
    if result.status == "exact" and not upper <= least * (1 + 2e-4) + 2e-6 and least < np.inf:
        found.append(f"exact {upper!r}, but a point at {least!r}")
    if result.witness is not None:
        point = result.witness.x
        logits = run_original(network, point[None])[0]
        inside = np.all((point >= domain.low) & (point <= domain.high))
        if not (np.delete(logits, label).max() >= logits[label] and inside):
            found.append("the point is not adversarial, or outside the domain")
    return result.status, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--first", type=int, default=0, help="Number of the first network.")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="Replay one network.")
    parser.add_argument("--seconds", type=float, default=np.inf, help="Of CPU time at most.")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    ends: Counter[str] = Counter()
    violations, start = 0, process_time()
    first = options.first if options.only is None else options.only
    last = first + (options.count if options.only is None else 1)
    drawn: list[onnx.ModelProto] = []
    kinds = many_operator_models(), models()
    for number in range(first, last):
        if process_time() - start > options.seconds:
            break
        if not drawn or number % BLOCK == 0:
            drawn = block(number // BLOCK, options.seed, kinds)
        began = monotonic()
        model = None if number % 3 else drawn[number % BLOCK % len(drawn)]
        try:
            end, found = examine(number, options.seed, model)
        except Exception:
            end, found = "failed", [traceback.format_exc(limit=-4)]
        ends[end] += 1
        violations += len(found)
        for said in found:
            print(f"--seed {options.seed} --only {number}: {said}", flush=True)
        if monotonic() - began > 60:
            print(f"--only {number}: took {monotonic() - began:.0f} s", flush=True)
        if number % 500 == 499:
            print(f"up to {number}: {dict(ends)}, {violations} violations", flush=True)
    process_pool.end_pool()
    print(f"{dict(ends)}; {violations} violations, {process_time() - start:.0f} s of CPU time")
    return int(violations > 0)


if __name__ == "__main__":
    sys.exit(main())
