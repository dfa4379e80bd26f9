"""Independent answers: brute force over activation patterns, published formulas."""

import itertools
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from scipy.optimize import linprog, nnls

import graphprune as gp
from graphprune.region import LINF, Norm

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Perceptron:
    """W_k relu(... relu(W_1 x + b_1)) + b_k, and the same as ONNX."""

    weights: list[Floats]
    biases: list[Floats]

    @classmethod
    def random(cls, rng: np.random.Generator, widths: list[int]) -> "Perceptron":
        pairs = list(itertools.pairwise(widths))
        weights = [rng.normal(0, 1, (m, n)).astype(np.float32).astype(float) for n, m in pairs]
        biases = [rng.normal(0, 0.5, m).astype(np.float32).astype(float) for _, m in pairs]
        return cls(weights, biases)

    def model(self) -> onnx.ModelProto:
        nodes, tensors, last = [], [], "x"
        for k, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            tensors += [numpy_helper.from_array(w.astype(np.float32), f"w{k}"),
                        numpy_helper.from_array(b.astype(np.float32), f"b{k}")]  # fmt: skip
            nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [f"z{k}"], transB=1))
            last = f"z{k}"
            if k + 1 < len(self.weights):
                nodes.append(helper.make_node("Relu", [last], [f"h{k}"]))
                last = f"h{k}"
        n, m = self.weights[0].shape[1], self.weights[-1].shape[0]
        graph = helper.make_graph(
            nodes, "mlp",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", n])],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", m])], tensors,
        )  # fmt: skip
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])

    def logits(self, x: Floats) -> Floats:
        for w, b in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = np.maximum(w @ x + b, 0)
        return np.asarray(self.weights[-1] @ x + self.biases[-1])


def of_classes(net: Perceptron, classes: list[int]) -> Perceptron:
    """The network of the scores of some classes."""
    weights = [*net.weights[:-1], net.weights[-1][classes]]
    return Perceptron(weights, [*net.biases[:-1], net.biases[-1][classes]])


def brute_force_distance(
    net: Perceptron, x0: Floats, label: int, low: float | Floats, high: float | Floats,
    norm: Norm = LINF, top_k: int = 1,
) -> float:  # fmt: skip
    """The distance by one program per activation pattern and target; inf when there is none.

    `low` and `high` are the domain's ends, of all inputs or of each. The label leaves the `top_k`
    best classes where so many others are no worse.
    """
    low, high = (np.broadcast_to(end, x0.shape).astype(float) for end in (low, high))
    bounded = bool(np.all(np.isfinite(high - low)))
    best = np.inf
    sizes = [len(b) for b in net.biases[:-1]]
    for pattern in itertools.product([0, 1], repeat=sum(sizes)):
        rows, rhs = [], []
        matrix, offset = np.eye(len(x0)), np.zeros(len(x0))
        start = 0
        for w, b in zip(net.weights[:-1], net.biases[:-1], strict=True):
            matrix, offset = w @ matrix, w @ offset + b
            on = np.array(pattern[start : start + len(b)], dtype=float)
            start += len(b)
            sign = 1.0 - 2.0 * on  # active: -z <= 0, inactive: z <= 0
            rows.append(sign[:, None] * matrix)
            rhs.append(-sign * offset)
            matrix, offset = on[:, None] * matrix, on * offset
        matrix, offset = net.weights[-1] @ matrix, net.weights[-1] @ offset + net.biases[-1]
        others = np.delete(np.arange(len(offset)), label)
        for winners in map(list, itertools.combinations(others, top_k)):
            a = np.vstack([*rows, matrix[label] - matrix[winners]])
            b_ub = np.concatenate([*rhs, offset[winners] - offset[label]])
            eye = np.eye(len(x0))
            if norm == "l2":
                sides = [(eye, high - x0), (-eye, x0 - low)] if bounded else []
                best = min(best, least_distance(
                    np.vstack([a, *(side for side, _ in sides)]),
                    np.concatenate([b_ub - a @ x0, *(room for _, room in sides)]),
                ))  # fmt: skip
                continue
            # |x_i - x0_i| <= t, one t for all elements or each its own.
            own = np.ones((len(x0), 1)) if norm is LINF else eye
            a = np.hstack([a, np.zeros((len(a), own.shape[1]))])
            a = np.vstack([a, np.hstack([eye, -own]), np.hstack([-eye, -own])])
            b_ub = np.concatenate([b_ub, x0, -x0])
            cost = np.concatenate([np.zeros(len(x0)), np.ones(own.shape[1])])
            bounds = [*zip(low, high, strict=True), *([(0, None)] * own.shape[1])]
            result = linprog(cost, A_ub=a, b_ub=b_ub, bounds=bounds, method="highs")
            if result.status == 0:
                best = min(best, float(result.fun or 0.0))
    return best


def least_distance(a: Floats, b: Floats) -> float:
    """min |u| subject to a u <= b, inf where nothing is: problem LDP of Lawson and Hanson (1974)."""
    rows = np.vstack([-a.T, -b])
    wanted = np.append(np.zeros(a.shape[1]), 1.0)
    residual = rows @ nnls(rows, wanted)[0] - wanted
    if abs(residual[-1]) < 1e-12:
        return np.inf
    return float(np.linalg.norm(residual[:-1] / residual[-1]))


def wong_kolter_margins(net: Perceptron, x0: Floats, radius: float, label: int) -> Floats:
    """Theorem 1 and Algorithm 1 of Wong and Kolter (2018), written out for dense networks.

    Lower bounds of f_y - f_t, targets increasing; no input domain, recursive bounds.
    """
    lowers: list[Floats] = []
    uppers: list[Floats] = []

    def dual(c: Floats, depth: int) -> float:
        """min c . z_depth over the ball, by the dual network with the bounds below."""
        nu = -c
        value = 0.0
        for k in range(depth, 0, -1):
            value -= float(nu @ net.biases[k])
            hat = net.weights[k].T @ nu
            low, high = lowers[k - 1], uppers[k - 1]
            nu = np.zeros_like(hat)
            for j in range(len(hat)):
                if low[j] >= 0:
                    nu[j] = hat[j]
                elif high[j] > 0:
                    slope = high[j] / (high[j] - low[j])
                    # alpha = slope on both signs; the intercept is paid where nu-hat is positive.
                    nu[j] = slope * hat[j]
                    value += low[j] * max(nu[j], 0.0)
        value -= float(nu @ net.biases[0])
        hat = net.weights[0].T @ nu
        return value - float(x0 @ hat) - radius * float(np.abs(hat).sum())

    for depth in range(len(net.weights) - 1):
        eye = np.eye(len(net.biases[depth]))
        lowers.append(np.array([dual(e, depth) for e in eye]))
        uppers.append(np.array([-dual(-e, depth) for e in eye]))
    classes = len(net.biases[-1])
    rows = [np.eye(classes)[label] - np.eye(classes)[t] for t in range(classes) if t != label]
    return np.array([dual(row, len(net.weights) - 1) for row in rows])


def original64(network: gp.Network, x: NDArray[np.floating]) -> Floats:
    """Logits (N, classes) of the original file's graph with every float widened to float64."""
    source = network.source
    evaluator = ReferenceEvaluator(_widen(source.proto))
    logits = []
    for point in x:
        feed = source.to_file(_fill(point[None], source.batch_size)).astype(np.float64)
        logits.append(
            source.from_file(
                np.asarray(next(iter(evaluator.run(None, {source.input_name: feed}))))
            )[0]
        )
    return np.array(logits, dtype=np.float64).reshape(len(x), network.classes)


def _fill(x: NDArray[np.floating], batch_size: int | None) -> NDArray[np.floating]:
    return x if batch_size is None else np.repeat(x, batch_size, axis=0)


def _widen(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model in which every FLOAT tensor, type and cast is DOUBLE."""
    wide = onnx.ModelProto()
    wide.CopyFrom(proto)
    graph = wide.graph
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    del graph.value_info[:]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _widen_tensor(attribute.t)
            elif (
                node.op_type == "Cast"
                and attribute.name == "to"
                and attribute.i == TensorProto.FLOAT
            ):
                attribute.i = TensorProto.DOUBLE
    return wide


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def region_distance(
    network: gp.Network, x0: NDArray[np.floating], label: int, low: float, high: float
) -> float:
    """The distance of any ReLU network by all its linear regions; inf when there is none.

    Depth first over the neurons: a phase is taken where a linear program finds a point for it.
    Segments are affine by their matrices, which tests of their own compare with the reference.
    """
    from graphprune.transforms.matrix import segment_matrix

    segments = [segment_matrix(s) for s in network.segments]
    n = x0.size
    start = x0.astype(np.float64).reshape(-1)
    box = [(low, high)] * n

    def affine(index: int, forms: dict[int, tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
        matrix, offset = np.zeros((len(segments[index].offset), n)), segments[index].offset.copy()
        sources = network.segments[index].sources
        for weight, source in zip(segments[index].weights, sources, strict=True):
            below, constant = forms[id(source)]
            matrix, offset = matrix + weight @ below, offset + weight @ constant
        return matrix, offset

    def nearest(rows: list[Floats], sides: list[float]) -> float:
        a = np.hstack([np.array(rows).reshape(-1, n), np.zeros((len(rows), 1))])
        eye, one = np.eye(n), np.ones((n, 1))
        a = np.vstack([a, np.hstack([eye, -one]), np.hstack([-eye, -one])])
        b = np.concatenate([sides, start, -start])
        cost = np.append(np.zeros(n), 1.0)
        found = linprog(cost, A_ub=a, b_ub=b, bounds=[*box, (0, None)], method="highs")
        return float(found.fun or 0.0) if found.status == 0 else np.inf

    def descend(
        layer: int, forms: dict[int, tuple[Floats, Floats]], rows: list[Floats], sides: list[float]
    ) -> float:
        matrix, offset = affine(layer, forms)
        if layer == len(network.activations):
            return min(
                nearest([*rows, matrix[label] - matrix[t]], [*sides, offset[t] - offset[label]])
                for t in range(len(offset)) if t != label
            )  # fmt: skip
        out = id(network.activations[layer].outputs[0])

        def phases(neuron: int, on: list[float], rows: list[Floats], sides: list[float]) -> float:
            if neuron == len(offset):
                mask = np.array(on)
                form = (mask[:, None] * matrix, mask * offset)
                return descend(layer + 1, forms | {out: form}, rows, sides)
            best = np.inf
            for phase, sign in ((1.0, -1.0), (0.0, 1.0)):
                more, side = [*rows, sign * matrix[neuron]], [*sides, -sign * offset[neuron]]
                if np.isfinite(nearest(more, side)):
                    best = min(best, phases(neuron + 1, [*on, phase], more, side))
            return best

        return phases(0, [], rows, sides)

    return descend(0, {id(network.input): (np.eye(n), np.zeros(n))}, [], [])
