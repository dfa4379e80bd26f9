"""Hypothesis strategies: random ONNX models, networks and anchors.

Structure and weights are drawn and shrink, to small dense networks of small integers. Models are
written with ``onnx.helper`` alone, so that nothing under test takes part in making its own input.
"""

import re
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
import onnx
from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from graphprune.canonical import from_proto
from graphprune.errors import GraphpruneError
from graphprune.ir import Network, Segment
from graphprune.option_text import option_choices, option_types
from graphprune.pipeline import Pipeline
from graphprune.pipeline.text import known_passes
from graphprune.region import Anchor
from graphprune.runtime.original import run_original
from graphprune.testing.arrays import factors, points, weights

Draw = st.DrawFn
# Name or size of the batch, None where there is none.
Batch = str | int | None


@dataclass
class Writer:
    """A model under construction; `shape` is the sample shape of the last value."""

    draw: Draw
    shape: tuple[int, ...]
    batch: Batch
    dtype: type = np.float32
    affine: bool = False
    last: str = "x"
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, array: NDArray[Any]) -> str:
        name = f"w{len(self.weights)}"
        if array.dtype.kind == "f":
            array = array.astype(self.dtype)
        # numpy makes a row of a number here.
        whole = np.ascontiguousarray(array).reshape(array.shape)
        self.weights.append(numpy_helper.from_array(whole, name))
        return name

    def drawn(self, *shape: int) -> str:
        """A constant of drawn numbers between -1 and 1."""
        return self.constant(self.draw(weights(*shape)))

    def node(self, op: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"n{name}", **attributes))
        self.last, self.shape = name, shape
        return name

    def activation(self) -> str:
        """A ReLU; nothing in a purely affine model."""
        return self.last if self.affine else self.node("Relu", [self.last], self.shape)

    def model(self, opset: int) -> onnx.ModelProto:
        kind = TensorProto.DOUBLE if self.dtype is np.float64 else TensorProto.FLOAT
        lead = [] if self.batch is None else [self.batch]
        x = helper.make_tensor_value_info("x", kind, [*lead, *self._input])
        y = helper.make_tensor_value_info(self.last, kind, [*lead, *self.shape])
        graph = helper.make_graph(self.nodes, "random", [x], [y], self.weights)
        return helper.make_model(
            graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)]
        )

    def __post_init__(self) -> None:
        self._input = self.shape


def batches(*choices: Batch) -> st.SearchStrategy[Batch]:
    """One of these batches."""
    return st.sampled_from(choices)


def _conv(draw: Draw, w: Writer) -> None:
    """A convolution with any stride, padding, dilation, group and kernel that fits."""
    channels, *sides = w.shape
    group = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
    out = group * draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, min(3, side))) for side in sides]
    dilations = [
        draw(st.integers(1, 2)) if 2 * (k - 1) + 1 <= side else 1
        for k, side in zip(kernel, sides, strict=True)
    ]
    strides = [draw(st.integers(1, 3)) for _ in sides]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel, "strides": strides, "dilations": dilations, "group": group,
    }  # fmt: skip
    mode = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    if mode.startswith("SAME") and all(d == 1 for d in dilations):
        attributes["auto_pad"] = mode
        lengths = [-(-side // s) for side, s in zip(sides, strides, strict=True)]
    else:
        pads = [draw(st.integers(0, 2)) for _ in range(4)] if mode == "NOTSET" else [0] * 4
        if mode != "NOTSET":
            attributes["auto_pad"] = "VALID"
        else:
            attributes["pads"] = pads
        lengths = [
            (sides[i] + pads[i] + pads[2 + i] - spans[i]) // strides[i] + 1 for i in range(2)
        ]
    inputs = [w.last, w.drawn(out, channels // group, *kernel)]
    if draw(st.booleans()):
        inputs.append(w.drawn(out))
    w.node("Conv", inputs, (out, *lengths), **attributes)


def _pool(draw: Draw, w: Writer) -> None:
    channels, *sides = w.shape
    if min(sides) < 2:
        return
    pad = draw(st.integers(0, 1))
    lengths = tuple((side + 2 * pad - 2) // 2 + 1 for side in sides)
    include = draw(st.integers(0, 1))
    w.node(
        "AveragePool", [w.last], (channels, *lengths), kernel_shape=[2, 2], strides=[2, 2],
        pads=[pad] * 4, count_include_pad=include,
    )  # fmt: skip


def _batch_norm(w: Writer) -> None:
    c = w.shape[0]
    gain_shift_mean = [w.drawn(c) for _ in range(3)]
    names = [*gain_shift_mean, w.constant(w.draw(factors(c)))]
    w.node("BatchNormalization", [w.last, *names], w.shape, epsilon=1e-3)


def _scalar(draw: Draw, w: Writer) -> None:
    """Add, Sub, Mul or Div with a constant on either side."""
    op = draw(st.sampled_from(["Add", "Sub", "Mul", "Div"]))
    shape = (w.shape[0], *(1 for _ in w.shape[1:])) if draw(st.booleans()) else w.shape
    value = w.constant(draw(factors(*shape)))
    swap = op != "Div" and draw(st.booleans())
    w.node(op, [value, w.last] if swap else [w.last, value], w.shape)


def gemm(draw: Draw, w: Writer, out: int) -> None:
    """Gemm with any alpha, beta and transB; without a batch, MatMul on either side."""
    into = w.shape[0]
    if w.batch is None:
        left = draw(st.booleans())
        weight = w.drawn(*((out, into) if left else (into, out)))
        w.node("MatMul", [weight, w.last] if left else [w.last, weight], (out,))
        w.node("Add", [w.last, w.drawn(out)], (out,))
        return
    trans = draw(st.booleans())
    weight = w.drawn(*((out, into) if trans else (into, out)))
    inputs = [w.last, weight]
    if draw(st.booleans()):
        inputs.append(w.drawn(*draw(st.sampled_from([(out,), (1, out)]))))
    if draw(st.booleans()) and len(inputs) == 3:
        # (x^T W)^T by transA: the batch axis comes second, and goes back.
        columns = w.node("Transpose", [w.last], (into,), perm=[1, 0])
        w.node(
            "Gemm", [columns, *inputs[1:]], (out,), transA=1, transB=int(trans),
            alpha=draw(st.sampled_from([1.0, 0.5])), beta=draw(st.sampled_from([1.0, 2.0])),
        )  # fmt: skip
        return
    w.node(
        "Gemm", inputs, (out,), transB=int(trans),
        alpha=draw(st.sampled_from([1.0, 0.5, 2.0])), beta=draw(st.sampled_from([1.0, 0.5])),
    )  # fmt: skip


def flatten(draw: Draw, w: Writer) -> None:
    size = int(np.prod(w.shape))
    if w.batch is not None and draw(st.booleans()):
        w.node("Reshape", [w.last, w.constant(np.array([0, -1]))], (size,))
    else:
        w.node("Flatten", [w.last], (size,), axis=1)


def _conv_body(draw: Draw, w: Writer) -> None:
    for _ in range(draw(st.integers(1, 2))):
        _conv(draw, w)
        if draw(st.booleans()):
            _batch_norm(w)
        if draw(st.booleans()):
            _scalar(draw, w)
        before, shape = w.activation(), w.shape
        if draw(st.booleans()):
            channels = shape[0]
            weight = w.drawn(channels, channels, 1, 1)
            branch = w.node("Conv", [before, weight], shape)
            w.node("Add", [before, branch] if draw(st.booleans()) else [branch, before], shape)
            w.activation()
        if draw(st.booleans()):
            _pool(draw, w)
    flatten(draw, w)


def _dense_body(draw: Draw, w: Writer) -> None:
    for _ in range(draw(st.integers(1, 2))):
        gemm(draw, w, draw(st.integers(1, 6)))
        if draw(st.booleans()):
            _scalar(draw, w)
        before, shape = w.activation(), w.shape
        if draw(st.booleans()):
            gemm(draw, w, shape[0])
            w.node("Add", [before, w.last], shape)
            w.activation()


@st.composite
def models(
    draw: Draw, *, conv: bool | None = None, classes: int | None = None, affine: bool = False
) -> onnx.ModelProto:
    """Random ReLU models: convolutional or fully connected, residual, any batch declaration.

    A failing example prints the model as ONNX text.

    Parameters
    ----------
    conv
        Only convolutional (True) or only fully connected (False) models.
    classes
        Number of outputs; drawn from 2 to 4 by default.
    affine
        Leave the ReLUs out.
    """
    is_conv = draw(st.booleans()) if conv is None else conv
    if is_conv:
        shape: tuple[int, ...] = (draw(st.integers(1, 3)), *(draw(st.integers(3, 6)) for _ in "hw"))
        w = Writer(draw, shape, draw(batches("n", 1, 3)), affine=affine)
        _conv_body(draw, w)
    else:
        batch = draw(batches("n", 1, 3, None))
        w = Writer(draw, (draw(st.integers(1, 5)),), batch, affine=affine)
        if draw(st.booleans()):
            _scalar(draw, w)
        _dense_body(draw, w)
    gemm(draw, w, classes or draw(st.integers(2, 4)))
    if draw(st.integers(0, 5)) == 5:
        w.activation()
    # BatchNormalization before 14 is wrong in ONNX's reference, which tests compare with.
    model = w.model(draw(st.sampled_from([15, 17])))
    if currently_in_test_context():
        note(model_text(model))
    return model


def model_text(model: onnx.ModelProto) -> str:
    """The model as ONNX text, long tensors cut: what a failing example shows."""
    text = onnx.printer.to_text(model)
    return re.sub(
        r"\{([^{}]*)\}",
        lambda m: "{" + ",".join([*m[1].split(",")[:6], " ..."]) + "}"
        if m[1].count(",") > 8 and "=" not in m[1] else m[0],
        text,
    )  # fmt: skip


def networks(*, conv: bool | None = None, classes: int | None = None) -> st.SearchStrategy[Network]:
    """Canonical networks of `models`."""
    return models(conv=conv, classes=classes).map(from_proto)


@st.composite
def anchors(draw: Draw, network: Network) -> Anchor:
    """A point of [0.2, 0.8] with the class the network gives it."""
    x = draw(points(*network.input_shape)).astype(np.float32)
    return Anchor(x, int(run_original(network, x[None])[0].argmax()))


@st.composite
def affine_segments(draw: Draw, *, conv: bool | None = None) -> tuple[Network, Segment]:
    """A network without activations, and its one segment: any affine graph from x to the logits."""
    network = draw(models(conv=conv, affine=True).map(from_proto))
    return network, network.segments[-1]


@st.composite
def pipelines(draw: Draw, *, names: Sequence[str] | None = None, longest: int = 4) -> Pipeline:
    """Pipelines of registered passes (or of those in `names`) with valid options of their types."""
    known = known_passes()
    chosen = []
    for _ in range(draw(st.integers(0, longest))):
        cls = known[draw(st.sampled_from(sorted(names or known)))]
        options = {
            name: draw(_option(kind))
            for name, kind in option_types(cls).items()
            if draw(st.booleans())
        }
        try:
            chosen.append(cls(**options))
        except GraphpruneError:  # options that do not go together
            chosen.append(cls())
    return Pipeline(tuple(chosen))


def _option(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an option's type, in ranges that passes usually take."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is Annotated:
        return st.sampled_from(option_choices(kind))
    if origin in (Union, types.UnionType):
        return st.one_of(*(_option(k) for k in inner))
    if origin is tuple:
        return st.lists(_option(inner[0]), max_size=3).map(tuple)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(), int: st.integers(1, 9), float: st.floats(0.01, 0.99),
        str: st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True), type(None): st.none(),
    }  # fmt: skip
    return simple[kind]
