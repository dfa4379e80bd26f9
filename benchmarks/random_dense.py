"""Dense networks of small layers with random weights, of every piecewise linear operator.

Weights tie, neurons are twice there, opposite, dead or without effect: cases in which a search
that is right on trained networks may be wrong.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float64]
RUNTIME = "com.microsoft"


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

    def constant(self, array: object, kind: type = np.float32) -> str:
        name = f"w{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(array, kind), name))
        return name

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Write a node; the name of its last output."""
        names = [f"v{len(self.nodes)}{'_' * k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[-1]

    def drawn(self, *shape: int) -> Floats:
        found = self.rng.normal(0, 1, shape)
        return np.round(2 * found) / 2 if self.grid else found

    def rows(self, width: int) -> tuple[Floats, Floats]:
        """Weights and biases, some of whose rows are equal, opposite, zero or without effect."""
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
        return weight, bias

    def affine(self, width: int) -> None:
        """A dense layer."""
        weight, bias = self.rows(width)
        self.last = self.node(
            "Gemm", self.last, self.constant(weight), self.constant(bias), transB=1
        )
        self.width = width

    def bend(self) -> None:
        """A piecewise linear operator on the last value: every third one is a ReLU."""
        kind = "Relu" if self.rng.random() < 0.33 else str(self.rng.choice(list(BENDS)))
        BENDS[kind](self, self.last)

    def reshaped(self, x: str, *sample: int) -> str:
        return self.node("Reshape", x, self.constant([-1, *sample], np.int64))

    def grouped(self, x: str) -> tuple[str, int]:
        """The cells of a value in groups of two, or all in one where their number is odd."""
        groups = self.width // 2 if self.width % 2 == 0 else 1
        return self.reshaped(x, groups, self.width // groups), groups

    def model(self) -> onnx.ModelProto:
        for _ in range(self.rng.integers(1, 4)):
            self.affine(int(self.rng.integers(2, 8)))
            self.bend()
        self.affine(int(self.rng.integers(2, 5)))
        return self.written()

    def written(self) -> onnx.ModelProto:
        """The model from the input to the last value."""
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", self.inputs])
        y = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, ["n", self.width])
        graph = helper.make_graph(self.nodes, "dense", [x], [y], self.tensors)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(RUNTIME, 1)]
        return helper.make_model(graph, ir_version=8, opset_imports=opsets)


def _plain(op: str, **attributes: Any) -> Callable[[Writer, str], None]:
    """An operator with fixed attributes."""

    def write(w: Writer, x: str) -> None:
        w.last = w.node(op, x, **attributes)

    return write


def _sloped(op: str) -> Callable[[Writer, str], None]:
    def write(w: Writer, x: str) -> None:
        w.last = w.node(op, x, alpha=float(w.rng.choice([0.125, 0.5, 1.5, -0.5])))

    return write


def _prelu(w: Writer, x: str) -> None:
    w.last = w.node("PRelu", x, w.constant(w.drawn(w.width)))


def _clip(w: Writer, x: str) -> None:
    ends = [(0.0, 1.0), (-0.5, 0.5), (-1.0, None), (None, 0.5)][w.rng.integers(4)]
    w.last = w.node("Clip", x, *("" if end is None else w.constant(end) for end in ends))


def _shrink(w: Writer, x: str) -> None:
    """Towards 0 without a jump."""
    limit = float(w.rng.choice([0.25, 0.5]))
    w.last = w.node("Shrink", x, bias=limit, lambd=limit)


def _extreme(op: str) -> Callable[[Writer, str], None]:
    """The largest or smallest of a value, a constant, and sometimes an image of the value."""

    def write(w: Writer, x: str) -> None:
        others = [w.constant(w.drawn(1, w.width))]
        if w.rng.random() < 0.5:
            others.append(w.node("Mul", x, w.constant(w.drawn(1, w.width))))
        w.last = w.node(op, x, *others)

    return write


def _pool(op: str, **attributes: Any) -> Callable[[Writer, str], None]:
    """Windows of two cells, the first one of a cell and the padding."""

    def write(w: Writer, x: str) -> None:
        image = w.reshaped(x, 1, w.width)
        pooled = w.node(op, image, kernel_shape=[2], strides=[1], pads=[1, 0], **attributes)
        w.last = w.node("Flatten", pooled)

    return write


def _global_pool(w: Writer, x: str) -> None:
    image, w.width = w.grouped(x)
    w.last = w.node("Flatten", w.node("GlobalMaxPool", image))


def _reduced(op: str) -> Callable[[Writer, str], None]:
    def write(w: Writer, x: str) -> None:
        image, w.width = w.grouped(x)
        w.last = w.node(op, image, axes=[2], keepdims=0)

    return write


def _top(w: Writer, x: str) -> None:
    """The two largest or smallest cells."""
    largest = int(w.rng.integers(2))
    number = w.constant([2], np.int64)
    # Values come first, their places second.
    top = w.node("TopK", x, number, outputs=2, largest=largest).removesuffix("_")
    w.last, w.width = top, 2


def _chosen(w: Writer, x: str) -> None:
    """Two lines that meet at 0, or the larger of two values, by a comparison."""
    if w.rng.random() < 0.5:
        one, other = (w.node("Mul", x, w.constant(a)) for a in w.rng.choice([-1.0, 0.5, 2.0], 2))
        above = w.node("Greater", x, w.constant(0.0))
    else:
        one, other = x, w.node("Mul", x, w.constant(w.drawn(1, w.width)))
        above = w.node("Greater", one, other)
    w.last = w.node("Where", above, one, other)


def _recurrent(w: Writer, x: str) -> None:
    """Steps over groups of cells with ReLUs."""
    image, steps = w.grouped(x)
    into, hidden = w.width // steps, 2
    sequence = w.node("Transpose", image, perm=[1, 0, 2])
    weights = [w.constant(w.drawn(1, hidden, size)) for size in (into, hidden)]
    bias = w.constant(0.5 * w.drawn(1, 2 * hidden))
    last = w.node(
        "RNN", sequence, *weights, bias, outputs=2, hidden_size=hidden, activations=["Relu"]
    )
    w.last, w.width = w.node("Squeeze", last, w.constant([0], np.int64)), hidden


def _fused_dense(w: Writer, x: str) -> None:
    """A dense layer with its activation, as ONNX Runtime writes it."""
    width = int(w.rng.integers(2, 6))
    weight, bias = (w.constant(array) for array in w.rows(width))
    leaky = w.rng.random() < 0.5
    more: dict[str, Any] = {"activation_alpha": 0.25} if leaky else {}
    name = "LeakyRelu" if leaky else "Relu"
    w.last = w.node("FusedGemm", x, weight, bias, domain=RUNTIME, transB=1, activation=name, **more)
    w.width = width


def _fused_conv(w: Writer, x: str) -> None:
    image = w.reshaped(x, 1, 1, w.width)
    weight = w.constant(w.drawn(1, 1, 1, 2))
    made = w.node(
        "FusedConv", image, weight, domain=RUNTIME, kernel_shape=[1, 2], pads=[0, 1, 0, 0],
        activation="Relu",
    )  # fmt: skip
    w.last = w.node("Flatten", made)


def _beside(w: Writer, x: str) -> None:
    w.last, w.width = w.node("Concat", x, w.node("Relu", x), axis=1), 2 * w.width


def _joined(op: str) -> Callable[[Writer, str], None]:
    """The ReLUs of a value, and the value."""

    def write(w: Writer, x: str) -> None:
        w.last = w.node(op, w.node("Relu", x), x)

    return write


# Every operator that is read as ReLUs, and branches of them.
BENDS: dict[str, Callable[[Writer, str], None]] = {
    "Relu": _plain("Relu"), "Abs": _plain("Abs"), "LeakyRelu": _sloped("LeakyRelu"),
    "HardSigmoid": _sloped("HardSigmoid"), "PRelu": _prelu, "Clip": _clip, "Shrink": _shrink,
    "ThresholdedRelu": _plain("ThresholdedRelu", alpha=0.0), "Max": _extreme("Max"),
    "Min": _extreme("Min"), "MaxPool": _pool("MaxPool"), "LpPool": _pool("LpPool", p=1),
    "GlobalMaxPool": _global_pool, "ReduceMax": _reduced("ReduceMax"),
    "ReduceMin": _reduced("ReduceMin"), "ReduceL1": _reduced("ReduceL1"), "TopK": _top,
    "Where": _chosen, "RNN": _recurrent, "FusedGemm": _fused_dense, "FusedConv": _fused_conv,
    "Concat": _beside, "Add": _joined("Add"), "Sub": _joined("Sub"),
}  # fmt: skip
