"""Constants: nodes of constants are evaluated, and the shapes of computed values are constants.

Floating numbers are kept in float64: folding rounds at 1e-16, not at 1e-7. But where a small
difference makes a large one (a size that is floor(1.4 * 10)), the file's own types decide, as they
do in every runtime.

The batch is bound to a number while it may be any. What hangs on it is known by a second number: a
constant that would be another one then may serve as a shape, never as a factor.
"""

from collections.abc import Sequence
from contextlib import suppress
from math import prod

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import numpy_helper

from graphprune.canonical.context import Context, describe
from graphprune.canonical.refusals import reason
from graphprune.errors import ModelError

# A symbolic batch is bound to a prime no layer size is a multiple of, so that every shape is a
# number and the batch axis is recognised wherever a Reshape or Shape chain carries it.
SYMBOLIC_BATCH = 10007
# Operators that ask for the shape of a value only.
SHAPES = ("Shape", "Size")
# Another one: constants that differ under it hang on the batch size.
OTHER_BATCH = 10009
# Operators that may be told the batch size, for it is a shape to them.
SHAPED = (
    "Reshape", "Expand", "Slice", "Tile", "Resize", "Upsample", "CenterCropPad", "AffineGrid"
)  # fmt: skip
# Where a small difference of a constant makes a large one: these are folded in the file's types.
JUMPS = (
    "Floor", "Ceil", "Round", "Sign", "Mod", "Range", "Cast", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Equal", "ArgMax", "ArgMin", "TopK", "NonZero",
)  # fmt: skip
# Constants that hang on the batch size are followed up to this many numbers.
SMALL = 4096
# Folded constants of a file may hold this many numbers together, or twice what the file stores.
MAX_FOLDED = 1 << 24


def fold_shape(context: Context, node: ir.Node) -> None:
    """The constant that a Shape or Size of any value is."""
    value = node.inputs[0]
    name = "" if value is None else str(value.name)
    known = context.constants.get(name)
    shape = context.tracked[name].layout.shape if known is None else known.shape
    start = node.attributes.get_int("start", 0)
    end = node.attributes.get_int("end", len(shape))
    name = str(node.outputs[0].name)

    def told(sizes: Sequence[int]) -> NDArray[np.generic]:
        known = prod(sizes) if node.op_type == "Size" else sizes[start:end]
        return np.array(known, dtype=np.int64)

    context.constants[name] = told(shape)
    if context.batch_size == SYMBOLIC_BATCH and any(n % SYMBOLIC_BATCH == 0 for n in shape):
        # No layer size is a multiple of it: what is, is one of the batch.
        other = [n // SYMBOLIC_BATCH * OTHER_BATCH if n % SYMBOLIC_BATCH == 0 else n for n in shape]
        _remember(context, name, told(other))


def cast_constant(context: Context, node: ir.Node) -> None:
    source, like, out = node.inputs[0], node.inputs[1], node.outputs[0]
    assert source is not None
    dtype = None if like is None else like.dtype
    if dtype is None:
        raise context.fail(node, "the type it casts to is not known")
    array = _typed(context, source).astype(dtype.numpy())
    context.constants[str(out.name)] = widen(array)
    if (other := context.other.get(str(source.name))) is not None:
        _remember(context, str(out.name), widen(other.astype(dtype.numpy())))


def fold(context: Context, node: ir.Node) -> None:
    """Evaluate a node of constants with ONNX's reference implementation."""
    if any(attr.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
           for attr in node.attributes.values() if isinstance(attr, ir.Attr)):  # fmt: skip
        raise context.fail(node, reason(node.op_type, node.domain))
    if node.op_type == "Dropout" and context.has(node, 2) and np.any(context.constant(node, 2)):
        raise context.fail(node, "is in training mode; export the model with eval()")
    own = _typed if node.op_type in JUMPS else lambda c, v: c.constants[str(v.name)]
    feeds = {str(v.name): own(context, v) for v in node.inputs if v is not None}
    proto = _alone(context, node, feeds)
    _check_folded(context, node, proto, feeds)
    try:
        results = _evaluate(proto, feeds)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(f"{context.label}: {describe(node)}: cannot be folded: {said}") from None
    for out, result in zip(node.outputs, results, strict=True):
        array = widen(result)
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            ends = all(use.node.op_type == "Clip" for use in out.uses())
            if np.any(np.isnan(array)) or not ends:
                raise ModelError(
                    f"{context.label}: {describe(node)}: computes a non-finite constant"
                )
        context.constants[str(out.name)] = array
    small = sum(result.size for result in results) <= SMALL
    if small and any(name in context.other for name in feeds):
        with suppress(Exception):
            feeds = {name: context.other.get(name, array) for name, array in feeds.items()}
            others = _evaluate(_alone(context, node, feeds), feeds)
            for out, result in zip(node.outputs, others, strict=True):
                _remember(context, str(out.name), widen(result))


def _typed(context: Context, value: ir.Value) -> NDArray[np.generic]:
    """A constant as the file's own types have it, not widened."""
    array = context.constants[str(value.name)]
    if array.dtype.kind != "f":
        return array
    if (known := context.exact.get(str(value.name))) is not None:
        return known
    if value.const_value is not None:
        return value.const_value.numpy()
    node = value.producer()
    if node is None or len(node.outputs) != 1 or node.op_type == "CastLike":
        return array
    feeds = {str(v.name): _typed(context, v) for v in node.inputs if v is not None}
    try:
        (result,) = _evaluate(_alone(context, node, feeds), feeds)
    except Exception:
        return array
    context.exact[str(value.name)] = result
    return result


def _evaluate(
    proto: onnx.ModelProto, feeds: dict[str, NDArray[np.generic]]
) -> list[NDArray[np.generic]]:
    """Run a model of one node by ONNX's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(proto).run(None, feeds)
    return [np.asarray(result) for result in results]


def _alone(
    context: Context, node: ir.Node, feeds: dict[str, NDArray[np.generic]]
) -> onnx.ModelProto:
    """A model of one node."""
    proto = onnx.ModelProto(ir_version=8)
    proto.opset_import.add(domain="", version=context.opset)
    proto.graph.name = "fold"
    proto.graph.node.append(ir.to_proto(node))
    for name, array in feeds.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
    for out in node.outputs:
        proto.graph.output.add(name=str(out.name))
    return proto


def _check_folded(
    context: Context, node: ir.Node, proto: onnx.ModelProto, feeds: dict[str, NDArray[np.generic]]
) -> None:
    """Refuse a constant that is too large before it is computed."""
    counts = [count(out) for out in node.outputs]
    if None in counts:
        # Shapes that hang on folded numbers, which ONNX infers where it is given them.
        known = onnx.ModelProto()
        known.CopyFrom(proto)
        small = {name: array for name, array in feeds.items() if array.size <= 1024}
        known.graph.initializer.extend(
            numpy_helper.from_array(array, name) for name, array in small.items()
        )
        inferred = onnx.shape_inference.infer_shapes(known, data_prop=True)
        counts = [count(ir.from_proto(out)) for out in inferred.graph.output]
    stored = sum(array.size for array in context.constants.values())
    asked = sum(count or 0 for count in counts)
    if context.folded + asked > max(MAX_FOLDED, 2 * (stored - context.folded)):
        raise context.fail(node, f"computes a constant of {asked} numbers; too many")
    context.folded += asked


def _remember(context: Context, name: str, other: NDArray[np.generic]) -> None:
    """Keep what a constant were with another batch, if that is something else."""
    if not np.array_equal(context.constants[name], other):
        context.other[name] = other


def check_batch(context: Context, node: ir.Node) -> None:
    """Refuse to compute with the size of the batch, which stands for any."""
    for index, value in enumerate(node.inputs):
        name = "" if value is None else str(value.name)
        other, array = context.other.get(name), context.constants.get(name)
        if other is None or array is None or other.shape != array.shape:
            continue  # a constant as long as the batch is a matter of the rule
        where = other != array
        allowed = node.op_type in SHAPED
        if node.op_type == "Slice" and allowed:
            x = context.computed(node, 0).layout
            axes = context.constant(node, 3) if context.has(node, 3) else None
            chosen = np.arange(len(where)) if axes is None else np.asarray(axes)
            allowed = all(int(a) % len(x.shape) == x.batch for a in chosen[where])
        if not allowed:
            raise context.fail(
                node, f"input {index} is computed from the size of the batch, of which a sample's"
                " result must not depend"
            )  # fmt: skip


def count(value: ir.Value) -> int | None:
    """Elements of a value whose shape is known."""
    if value.shape is None or not all(isinstance(dim, int) for dim in value.shape.dims):
        return None
    return prod(int(dim) for dim in value.shape.dims if isinstance(dim, int))


def widen(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Floating constants in float64: folding rounds at 1e-16, not at 1e-7."""
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        return array.astype(np.float64)
    return np.asarray(array)
