"""Constants: nodes of constants are evaluated, and the shapes of computed values are constants.

Floating numbers are kept in float64: folding rounds at 1e-16, not at 1e-7. But where a small
difference makes a large one (a size that is floor(1.4 * 10)), the file's own types decide, as they
do in every runtime.
Constants that hang on the size of the batch are a matter of
:mod:`graphprune.canonical.batch`.
"""

from collections.abc import Sequence
from contextlib import suppress
from math import prod

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from graphprune.canonical.batch import (
    SYMBOLIC_BATCH,
    of_one_sample,
    other_size,
    remember,
    repeated,
)
from graphprune.canonical.context import Array, Context, Tracked, describe
from graphprune.canonical.evaluate import evaluate, model_of_node
from graphprune.canonical.memory import FOLDED, NUMBER, constant_too_large
from graphprune.canonical.refusals import reason
from graphprune.errors import GraphpruneError, ModelError

# Operators that ask for the shape of a value only.
SHAPES = ("Shape", "Size")
# Where a small difference of a constant makes a large one: these are folded in the file's types.
JUMPS = (
    "Floor", "Ceil", "Round", "Sign", "Mod", "Range", "Cast", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Equal", "ArgMax", "ArgMin", "TopK", "NonZero",
)  # fmt: skip
# Constants that hang on the batch size are followed up to this many numbers.
SMALL = 4096


def fold_shape(context: Context, node: ir.Node) -> None:
    """The constant that a Shape or Size of any value is."""
    value = node.inputs[0]
    name = "" if value is None else str(value.name)
    known = context.constants.get(name)
    shape = context.tracked[name].layout.shape if known is None else known.shape
    start = node.attributes.get_int("start", 0)
    end = node.attributes.get_int("end", len(shape))
    name = str(node.outputs[0].name)

    def told(sizes: Sequence[int]) -> Array:
        known = prod(sizes) if node.op_type == "Size" else sizes[start:end]
        return np.array(known, dtype=np.int64)

    context.constants[name] = told(shape)
    if context.batch_size == SYMBOLIC_BATCH and any(n % SYMBOLIC_BATCH == 0 for n in shape):
        remember(context, name, told(other_size(shape)))


def fold(context: Context, node: ir.Node) -> None:
    """Evaluate a node of constants; what only repeats one for every sample becomes a value."""
    if any(attr.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
           for attr in node.attributes.values() if isinstance(attr, ir.Attr)):  # fmt: skip
        raise context.fail(node, reason(node.op_type, node.domain))
    if node.op_type == "Dropout" and context.has(node, 2) and np.any(context.constant(node, 2)):
        raise context.fail(node, "is in training mode; export the model with eval()")
    if (single := of_one_sample(context, node)) is not None:
        feeds, axis = single
        _check_folded(context, node, feeds, [None])
        (array,) = _evaluate(context, node, feeds)
        if array.shape[axis] == 1:
            value = repeated(context, node, widen(array), axis % array.ndim)
            context.tracked[str(node.outputs[0].name)] = value
            return
    own = _typed if node.op_type in JUMPS else lambda c, v: c.constants[str(v.name)]
    feeds = {
        str(v.name): own(context, v)
        for v in node.inputs
        if v is not None and str(v.name) in context.constants
    }
    _check_folded(context, node, feeds, [count(out) for out in node.outputs])
    results = _evaluate(context, node, feeds)
    for out, result in zip(node.outputs, results, strict=True):
        if result.dtype.kind in "iu" and node.op_type == "Cast" and not _all_finite(feeds):
            raise ModelError(
                f"{context.label}: {describe(node)}: makes integers of infinite or NaN numbers"
            )
        context.constants[str(out.name)] = widen(result)
    small = sum(result.size for result in results) <= SMALL
    if small and any(name in context.other for name in feeds):
        with suppress(GraphpruneError):
            feeds = {name: context.other.get(name, array) for name, array in feeds.items()}
            others = _evaluate(context, node, feeds)
            for out, result in zip(node.outputs, others, strict=True):
                remember(context, str(out.name), widen(result))


def fold_repeated(context: Context, node: ir.Node) -> Tracked | None:
    """The value of a node whose inputs are constants or repeat one for every sample.

    None where a batch of one does not tell what it is with another batch.
    """
    out = node.outputs[0]
    if len(node.outputs) != 1 or out.shape is None:
        return None
    shape = [int(dim) if isinstance(dim, int) else 0 for dim in out.shape.dims]
    axes = [axis for axis, length in enumerate(shape) if length == context.batch_size]
    feeds: dict[str, Array] = {}
    for value in node.inputs:
        if value is not None:
            name = str(value.name)
            number = context.tracked[name].number if name in context.tracked else None
            feeds[name] = context.constants[name] if number is None else number
    with suppress(GraphpruneError):
        (array,) = _evaluate(context, node, feeds)
        if len(axes) == 1 and [*array.shape] == [
            1 if i in axes else n for i, n in enumerate(shape)
        ]:
            return repeated(context, node, widen(array), axes[0])
    return None


def _all_finite(feeds: dict[str, Array]) -> bool:
    return all(a.dtype.kind != "f" or np.all(np.isfinite(a)) for a in feeds.values())


def _evaluate(context: Context, node: ir.Node, feeds: dict[str, Array]) -> list[Array]:
    """Outputs of a node of constants."""
    if node.op_type == "ConstantOfShape" and node.domain in ("", "ai.onnx"):
        # A view: many of them stand for weights that nobody stored.
        attribute = node.attributes.get("value")
        value = np.zeros(1, np.float32) if attribute is None else attribute.as_tensor().numpy()
        shape = tuple(int(n) for n in next(iter(feeds.values())))
        return [np.broadcast_to(widen(value).reshape(()), shape)]

    def typed() -> dict[str, Array]:
        return {str(v.name): _typed(context, v) for v in node.inputs if v is not None}

    if node.op_type == "CastLike":  # the reference asks for a value that nobody has
        like = node.inputs[1]
        if like is None or like.dtype is None:
            raise context.fail(node, "the type it casts to is not known")
        return [next(iter(feeds.values())).astype(like.dtype.numpy())]
    try:
        return evaluate(ir.to_proto(node), context.opsets, feeds, typed)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(f"{context.label}: {describe(node)}: cannot be folded: {said}") from None


def _typed(context: Context, value: ir.Value) -> Array:
    """A constant as the file's own types have it, not widened."""
    name = str(value.name)
    array = context.constants.get(name)
    if array is None or array.dtype.kind != "f":
        return context.constants[name]
    if (known := context.exact.get(name)) is not None:
        return known
    if value.const_value is not None:
        return value.const_value.numpy()
    node = value.producer()
    if node is None or len(node.outputs) != 1:
        return array
    try:
        feeds = {str(v.name): _typed(context, v) for v in node.inputs if v is not None}
        (result,) = _evaluate(context, node, feeds)
    except (GraphpruneError, KeyError):
        return array
    if value.dtype is not None and result.dtype.kind == "f":
        result = result.astype(value.dtype.numpy())  # of numbers that are known in float64 alone
    context.exact[name] = result
    return result


def _check_folded(
    context: Context, node: ir.Node, feeds: dict[str, Array], counts: list[int | None]
) -> None:
    """Refuse a constant that is too large before it is computed; `counts` are its sizes."""
    if None in counts:
        # Shapes that hang on folded numbers, which ONNX infers where it is given them.
        known = model_of_node(ir.to_proto(node), context.opsets, feeds)
        small = {name: array for name, array in feeds.items() if array.size <= 1024}
        known.graph.initializer.extend(
            numpy_helper.from_array(array, name) for name, array in small.items()
        )
        inferred = onnx.shape_inference.infer_shapes(known, data_prop=True)
        counts = [count(ir.from_proto(out)) for out in inferred.graph.output]
    asked = NUMBER * sum(n or 0 for n in counts)
    if context.folded + asked > max(FOLDED, 2 * context.stored):
        raise context.fail(node, constant_too_large(asked))
    context.folded += asked


def count(value: ir.Value) -> int | None:
    """Elements of a value whose shape is known."""
    if value.shape is None or not all(isinstance(dim, int) for dim in value.shape.dims):
        return None
    return prod(int(dim) for dim in value.shape.dims if isinstance(dim, int))


def widen(array: Array) -> Array:
    """Floating constants in float64: folding rounds at 1e-16, not at 1e-7."""
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        return array.astype(np.float64, copy=False)
    return np.asarray(array)
