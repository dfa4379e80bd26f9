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
    FROM_BATCH,
    SYMBOLIC_BATCH,
    check_batch,
    of_one_sample,
    other_size,
    remember,
    repeated,
)
from graphprune.canonical.context import Array, Context, Tracked, describe
from graphprune.canonical.evaluate import evaluate, model_of_node
from graphprune.canonical.memory import FOLDED, NUMBER, constant_too_large
from graphprune.canonical.refusals import RANDOM, reason
from graphprune.errors import GraphpruneError, ModelError

# Operators that ask for the shape of a value only.
SHAPES = ("Shape", "Size")
# Where a small difference of a constant makes a large one: these are folded in the file's types.
JUMPS = (
    "Floor", "Ceil", "Round", "Sign", "Mod", "Range", "Cast", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Equal", "ArgMax", "ArgMin", "TopK", "NonZero", "CastLike", "Hardmax",
    "QuantizeLinear", "DynamicQuantizeLinear", "ThresholdedRelu", "Shrink", "Unique",
)  # fmt: skip
# Constants that hang on the batch size are followed up to this many numbers.
SMALL = 1 << 20


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
    _check_folds(context, node)
    feeds = _feeds(context, node)
    if (single := of_one_sample(context, node)) is not None:
        shape, axis = single
        _check_folded(context, node, feeds | shape, [None])
        (array,) = _evaluate(context, node, feeds | shape)
        if array.shape[axis] == 1:
            value = repeated(context, node, widen(array), axis % array.ndim)
            context.tracked[str(node.outputs[0].name)] = value
            return
    _check_folded(context, node, feeds, [count(out) for out in node.outputs])
    results = _evaluate(context, node, feeds)
    for out, result in zip(node.outputs, results, strict=True):
        context.constants[str(out.name)] = widen(result)
    if not any(name in context.other for name in feeds):
        return
    if sum(result.size for result in results) > SMALL:
        if not any(n % SYMBOLIC_BATCH == 0 for result in results for n in result.shape):
            raise context.fail(node, FROM_BATCH)
        return  # a constant as long as the batch is a matter of the rule
    with suppress(GraphpruneError):
        others = _evaluate(context, node, {n: context.other.get(n, feeds[n]) for n in feeds})
        for out, result in zip(node.outputs, others, strict=True):
            remember(context, str(out.name), widen(result))


def fold_repeated(context: Context, node: ir.Node) -> Tracked | None:
    """The value of a node whose inputs are constants or repeat one for every sample.

    None where the node may mix samples: the result of one has to be that of each of two.
    """
    out = node.outputs[0]
    if len(node.outputs) != 1 or out.shape is None or node.op_type in RANDOM:
        return None
    check_batch(context, node)
    _check_folds(context, node)
    sizes = [int(dim) if isinstance(dim, int) else 0 for dim in out.shape.dims]
    axes = [axis for axis, length in enumerate(sizes) if length == context.batch_size]
    if len(axes) != 1:
        return None
    (axis,) = axes
    sizes[axis] = 1
    feeds = _feeds(context, node)
    _check_folded(context, node, feeds, [prod(sizes)])
    with suppress(GraphpruneError):
        (one,) = _evaluate(context, node, feeds)
        (two,) = _evaluate(context, node, _of_two(context, feeds))
        if [*one.shape] == sizes and _all_equal(two, np.repeat(one, 2, axis)):
            return repeated(context, node, widen(one), axis)
    return None


def _feeds(context: Context, node: ir.Node) -> dict[str, Array]:
    """The numbers of a node's inputs, for a batch of one; in the file's types where it jumps."""
    values = {str(value.name): value for value in node.inputs if value is not None}
    found = {name: _number(context, name) for name in values}
    own = node.op_type in JUMPS
    return {
        name: _typed(context, values[name]) if own else array
        for name, array in found.items()
        if array is not None
    }


def _number(context: Context, name: str) -> Array | None:
    """A constant, or what is repeated for every sample."""
    if name in context.tracked:
        return context.tracked[name].number
    return context.constants.get(name)


def _of_two(context: Context, feeds: dict[str, Array]) -> dict[str, Array]:
    """The same inputs for a batch of two."""
    return {
        name: array
        if name not in context.tracked
        else np.repeat(array, 2, context.tracked[name].layout.batch)
        for name, array in feeds.items()
    }


def _all_equal(a: Array, b: Array) -> bool:
    """True for equal arrays; sums of floats may be in another order."""
    if a.dtype.kind != "f" or a.shape != b.shape:
        return np.array_equal(a, b)
    scale = 1e-12 if a.dtype == np.float64 else 1e-6
    return np.allclose(a, b, rtol=scale, atol=0.0, equal_nan=True)


def _check_folds(context: Context, node: ir.Node) -> None:
    """Refuse nodes that are no functions of their inputs."""
    if any(attr.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
           for attr in node.attributes.values() if isinstance(attr, ir.Attr)):  # fmt: skip
        raise context.fail(node, reason(node.op_type, node.domain))
    if node.op_type == "Dropout" and context.has(node, 2) and np.any(context.constant(node, 2)):
        raise context.fail(node, "is in training mode; export the model with eval()")


def _check_casts(context: Context, node: ir.Node, feeds: dict[str, Array]) -> None:
    """Refuse integers of what is none, which every runtime makes another number of."""
    kind, array = node.outputs[0].dtype, next(iter(feeds.values()), None)
    if node.op_type not in ("Cast", "CastLike") or kind is None or not kind.is_integer():
        return
    if array is not None and array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        raise ModelError(
            f"{context.label}: {describe(node)}: makes integers of infinite or NaN numbers"
        )


def _evaluate(context: Context, node: ir.Node, feeds: dict[str, Array]) -> list[Array]:
    """Outputs of a node of constants."""
    _check_casts(context, node, feeds)
    if node.op_type == "ConstantOfShape" and node.domain in ("", "ai.onnx"):
        # A view: many of them stand for weights that nobody stored.
        attribute = node.attributes.get("value")
        value = np.zeros(1, np.float32) if attribute is None else attribute.as_tensor().numpy()
        shape = tuple(int(n) for n in next(iter(feeds.values())))
        return [np.broadcast_to(widen(value).reshape(()), shape)]

    def typed() -> dict[str, Array]:
        return {str(v.name): _narrowed(feeds[str(v.name)], v) for v in node.inputs if v is not None}

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
    """A number as the file's own types have it, not widened; see `_number`."""
    name = str(value.name)
    array = _number(context, name)
    if array is None or array.dtype.kind != "f":
        return context.constants[name] if array is None else array
    if (known := context.exact.get(name)) is not None:
        return known
    if value.const_value is not None:
        return value.const_value.numpy()
    node = value.producer()
    if node is None or len(node.outputs) != 1:
        return _narrowed(array, value)
    try:
        feeds = {str(v.name): _typed(context, v) for v in node.inputs if v is not None}
        if name in context.tracked and (single := of_one_sample(context, node)) is not None:
            feeds |= single[0]
        (result,) = _evaluate(context, node, feeds)
    except (GraphpruneError, KeyError):
        return _narrowed(array, value)
    context.exact[name] = result = _narrowed(result, value)
    return result


def _narrowed(array: Array, value: ir.Value) -> Array:
    """Numbers that are known in float64 alone, in the type that the file has for them."""
    if array.dtype.kind != "f" or value.dtype is None:
        return array
    return array.astype(value.dtype.numpy(), copy=False)


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
