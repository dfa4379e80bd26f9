"""Models of many operators: what exporters write beyond convolutions and dense layers.

Each step below draws one operator with its attributes and writes it on the last value; one that
does not fit the shape does nothing.
"""

from collections.abc import Callable

import numpy as np
import onnx
from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st

from graphprune.testing.strategies import Draw, Writer, batches, flatten, gemm, model_text

Step = Callable[[Draw, Writer], None]


def _max_pool(draw: Draw, w: Writer) -> None:
    kernel = [draw(st.integers(1, min(3, side))) for side in w.shape[1:]]
    strides = [draw(st.integers(1, 2)) for _ in kernel]
    pads = [draw(st.integers(0, (k - 1) // 2)) for k in kernel] * 2
    sides = [
        (side + 2 * pad - k) // s + 1
        for side, pad, k, s in zip(w.shape[1:], pads, kernel, strides, strict=False)
    ]
    w.node(
        "MaxPool", [w.last], (w.shape[0], *sides), kernel_shape=kernel, strides=strides, pads=pads
    )


def _pad(draw: Draw, w: Writer) -> None:
    mode = draw(st.sampled_from(["constant", "edge", "reflect"]))
    before, after = ([draw(st.integers(0, min(2, n - 1))) for n in w.shape[1:]] for _ in "ba")
    sides = [b + n + a for b, n, a in zip(before, w.shape[1:], after, strict=True)]
    pads = w.constant(np.array([0, 0, *before, 0, 0, *after]))
    w.node("Pad", [w.last, pads], (w.shape[0], *sides), mode=mode)


def _slice(draw: Draw, w: Writer) -> None:
    axis = draw(st.integers(0, len(w.shape) - 1))
    start, step = draw(st.integers(0, w.shape[axis] - 1)), draw(st.integers(1, 2))
    ends = [w.constant(np.array([n])) for n in (start, 2**31, axis + 1, step)]
    length = len(range(start, w.shape[axis], step))
    w.node("Slice", [w.last, *ends], (*w.shape[:axis], length, *w.shape[axis + 1 :]))


def _branches(draw: Draw, w: Writer) -> None:
    """The value beside its image under another step of the same shape."""
    base, shape = w.last, w.shape
    draw(st.sampled_from(POINTWISE))(draw, w)
    op = draw(st.sampled_from(["Concat", "Max", "Min", "Add", "Sub"]))
    if op == "Concat":
        w.node(op, [base, w.last], (2 * shape[0], *shape[1:]), axis=1)
    else:
        w.node(op, [w.last, base], shape)


def _bent(draw: Draw, w: Writer) -> None:
    """An activation that ReLU expresses."""
    op = draw(st.sampled_from(["Relu", "LeakyRelu", "PRelu", "Clip", "Abs", "HardSigmoid"]))
    inputs, attributes = [w.last], {}
    if op == "LeakyRelu":
        attributes["alpha"] = draw(st.sampled_from([0.1, 0.5, 1.5]))
    if op == "PRelu":
        inputs.append(w.drawn(w.shape[0], *(1 for _ in w.shape[1:])))
    if op == "Clip":
        ends = draw(st.sampled_from([(0.0, 1.0), (-0.5, 0.5), (-1.0, None), (None, 0.5)]))
        inputs += ["" if end is None else w.constant(np.array(end)) for end in ends]
    w.node(op, inputs, w.shape, **attributes)


def _against_constant(draw: Draw, w: Writer) -> None:
    op = draw(st.sampled_from(["Max", "Min"]))
    w.node(op, [w.last, w.drawn(*w.shape)], w.shape)


def _mean(draw: Draw, w: Writer) -> None:
    """Each cell less the mean along one axis."""
    base, shape, axis = w.last, w.shape, draw(st.integers(0, len(w.shape) - 1))
    w.node("ReduceMean", [base], (*shape[:axis], 1, *shape[axis + 1 :]), axes=[axis + 1])
    w.node("Sub", [base, w.last], shape)


def _nearest(draw: Draw, w: Writer) -> None:
    scales = [draw(st.sampled_from([1, 2])) for _ in w.shape[1:]]
    factors = w.constant(np.array([1, 1, *scales], dtype=np.float32))
    sides = [n * s for n, s in zip(w.shape[1:], scales, strict=True)]
    w.node("Resize", [w.last, "", factors], (w.shape[0], *sides), mode="nearest",
           coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip


def _depth_to_space(draw: Draw, w: Writer) -> None:
    channels, *sides = w.shape
    if channels % 4 == 0:
        mode = draw(st.sampled_from(["DCR", "CRD"]))
        shape = (channels // 4, *(2 * n for n in sides))
        w.node("DepthToSpace", [w.last], shape, blocksize=2, mode=mode)


def _conv_transpose(draw: Draw, w: Writer) -> None:
    stride, out = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    weight = w.drawn(w.shape[0], out, 2, 2)
    sides = [stride * (n - 1) + 2 for n in w.shape[1:]]
    w.node("ConvTranspose", [w.last, weight], (out, *sides), strides=[stride] * 2)


CURVES = [
    "Sigmoid", "Tanh", "Softplus", "Elu", "Celu", "Selu", "HardSwish", "Softsign", "Erf", "Sin",
    "Cos", "Atan",
]  # fmt: skip


def _smooth(draw: Draw, w: Writer) -> None:
    w.node(draw(st.sampled_from(CURVES)), [w.last], w.shape)


def _cumulative(draw: Draw, w: Writer) -> None:
    axis = w.constant(np.array(draw(st.integers(1, len(w.shape)))))
    flags = {name: draw(st.integers(0, 1)) for name in ("exclusive", "reverse")}
    w.node("CumSum", [w.last, axis], w.shape, **flags)


def _shrink(draw: Draw, w: Writer) -> None:
    limit = draw(st.sampled_from([0.25, 0.5]))
    w.node("Shrink", [w.last], w.shape, bias=limit, lambd=limit)


def _compress(draw: Draw, w: Writer) -> None:
    axis = draw(st.integers(0, len(w.shape) - 1))
    kept = [True, *(draw(st.booleans()) for _ in range(w.shape[axis] - 1))]
    shape = (*w.shape[:axis], sum(kept), *w.shape[axis + 1 :])
    w.node("Compress", [w.last, w.constant(np.array(kept))], shape, axis=axis + 1)


def _gather_elements(draw: Draw, w: Writer) -> None:
    """Cells picked along one axis, in a batch of one: the index has an axis for it."""
    if w.batch == 1:
        axis = draw(st.integers(0, len(w.shape) - 1))
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        index = rng.integers(-w.shape[axis], w.shape[axis], (1, *w.shape))
        w.node("GatherElements", [w.last, w.constant(index)], w.shape, axis=axis + 1)


def _scatter(draw: Draw, w: Writer) -> None:
    """Constants in the place of two cells, in a batch of one."""
    if w.batch == 1 and w.shape[0] > 1:
        index = np.zeros((1, 2, *(1 for _ in w.shape[1:])), dtype=np.int64)
        index[0, 1] = draw(st.integers(1, w.shape[0] - 1))
        w.node(
            "ScatterElements", [w.last, w.constant(index), w.drawn(*index.shape)], w.shape, axis=1
        )


def _triangle(draw: Draw, w: Writer) -> None:
    k = w.constant(np.array(draw(st.integers(-1, 1))))
    w.node("Trilu", [w.last, k], w.shape, upper=draw(st.integers(0, 1)))


def _matrices(draw: Draw, w: Writer) -> None:
    """A matrix for every channel, or one for all."""
    channels, rows, columns = w.shape
    count = draw(st.sampled_from([1, channels]))
    if draw(st.booleans()):
        w.node("MatMul", [w.last, w.drawn(count, columns, 2)], (channels, rows, 2))
    else:
        w.node("MatMul", [w.drawn(count, 2, rows), w.last], (channels, 2, columns))


POINTWISE: list[Step] = [
    _bent, _against_constant, _mean, _cumulative, _shrink, _gather_elements, _scatter
]  # fmt: skip
ANY: list[Step] = [*POINTWISE, _branches, _slice, _compress]
IMAGES: list[Step] = [
    *ANY,
    _max_pool,
    _pad,
    _nearest,
    _depth_to_space,
    _conv_transpose,
    _triangle,
    _matrices,
]
# Images and branches grow: no step begins on more numbers than this.
LARGEST = 200


@st.composite
def many_operator_models(
    draw: Draw, *, classes: int | None = None, smooth: bool = False, longest: int = 4
) -> onnx.ModelProto:
    """Random models of pools, pads, slices, branches, activations, means, indices and upsampling.

    A failing example prints the model as ONNX text.

    Parameters
    ----------
    classes
        Number of outputs; drawn from 2 to 4 by default.
    smooth
        Also draw curved scalar functions.
    longest
        Most steps between the input and the dense layer at the end.
    """
    image = draw(st.booleans())
    channels = draw(st.sampled_from([1, 2, 4]))
    shape = (channels, *(draw(st.integers(2, 4)) for _ in "hw")) if image else (channels + 1,)
    w = Writer(draw, shape, draw(batches("n", 1)))
    steps = [*(IMAGES if image else ANY), *([_smooth, _smooth] if smooth else [])]
    for _ in range(draw(st.integers(1, longest))):
        if np.prod(w.shape) <= LARGEST:
            draw(st.sampled_from(steps))(draw, w)
    if image:
        flatten(draw, w)
    gemm(draw, w, classes or draw(st.integers(2, 4)))
    model = w.model(draw(st.sampled_from([15, 17])))
    if currently_in_test_context():
        note(model_text(model))
    return model
