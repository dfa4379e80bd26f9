"""The batch, which is bound to a number while it may be any.

A second number tells what hangs on it: a constant that would be another one then may serve
as a shape, never as a factor; a tensor that only repeats one sample's numbers along the batch
(``torch.zeros(x.size(0), 8)``) is a value of the network that its input does not change.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Array, Context, Tracked
from graphprune.errors import GraphpruneError
from graphprune.ir.source import Layout
from graphprune.operators import Scale, Shift

# A symbolic batch is bound to a prime no layer size is a multiple of, so that every shape is a
# number and the batch axis is recognised wherever a Reshape or Shape chain carries it.
SYMBOLIC_BATCH = 10007
# Another one: constants that differ under it hang on the batch size.
OTHER_BATCH = 10009
# Operators that may be told the batch size, for it is a shape to them.
SHAPED = (
    "Reshape", "Expand", "Slice", "Tile", "Resize", "Upsample", "ConstantOfShape",
    "CenterCropPad", "AffineGrid",
)  # fmt: skip
# Those that repeat a constant, and the input that says how often.
REPEATING = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}


# Why a number that hangs on the batch is refused.
FROM_BATCH = "is computed from the size of the batch, of which a sample's result must not depend"


@contextmanager
def said_of_any(name: str) -> Iterator[None]:
    """Messages from within speak of the batch by its name, not by the number it is bound to."""
    try:
        yield
    except GraphpruneError as error:
        raise type(error)(unbound(str(error), name)) from error


def unbound(text: str, name: str = "N") -> str:
    """`text` with the number that the batch is bound to, and its multiples, written as products."""

    def written(match: re.Match[str]) -> str:
        number = int(match[0])
        if number == 0 or number % SYMBOLIC_BATCH:
            return match[0]
        times = number // SYMBOLIC_BATCH
        return name if times == 1 else f"{times}*{name}"

    return re.sub(r"(?<![\w.])\d+(?!\w|\.\d)", written, text)


def other_size(shape: tuple[int, ...]) -> list[int]:
    """A shape as it were with the other batch: no layer size is a multiple of the first."""
    return [n // SYMBOLIC_BATCH * OTHER_BATCH if n % SYMBOLIC_BATCH == 0 else n for n in shape]


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
            raise context.fail(node, f"input {index} {FROM_BATCH}")


def of_one_sample(context: Context, node: ir.Node) -> tuple[dict[str, Array], int] | None:
    """The repeats of a node that repeats a constant for every sample, for a batch of one.

    Returns
    -------
    The shape or repeats that it is given, by name, and the batch axis of the result counted from
    its end; None for any other node.
    """
    place = REPEATING.get(node.op_type)
    if place is None or node.domain not in ("", "ai.onnx"):
        return None
    times = node.inputs[place]
    name = "" if times is None else str(times.name)
    shape, other = context.constants.get(name), context.other.get(name)
    if shape is None or other is None or shape.shape != other.shape or shape.ndim != 1:
        return None
    (axes,) = np.nonzero(shape != other)
    if len(axes) != 1 or shape[axes[0]] != SYMBOLIC_BATCH:
        return None
    for index, value in enumerate(node.inputs):
        given = None if value is None or index == place else context.other.get(str(value.name))
        if given is None or value is None:
            continue
        if given.shape == context.constants[str(value.name)].shape:
            raise context.fail(node, f"input {index} {FROM_BATCH}")
        return None
    single = shape.copy()
    single[axes[0]] = 1
    return {name: single}, int(axes[0]) - len(shape)


def repeated(context: Context, node: ir.Node, array: Array, batch: int) -> Tracked:
    """A constant as a value of every sample: the affine map 0 x + c of the network's input.

    Parameters
    ----------
    array
        The constant for a batch of one.
    batch
        Its batch axis.
    """
    shape = (*array.shape[:batch], context.batch_size, *array.shape[batch + 1 :])
    layout = Layout(shape, batch)
    x = context.relayout(context.input, Layout((context.batch_size, context.input.layout.size), 0))
    x = context.gather(x, 1, np.zeros(layout.size, np.int64), node)
    x = context.relayout(x, layout)
    x = context.emit(Scale(np.array(0.0), layout.sample), x, layout=layout)
    op = Shift(np.squeeze(array, batch).astype(np.float64), layout.sample)
    return replace(context.emit(op, x, layout=layout, node=node), number=array)


def remember(context: Context, name: str, other: NDArray[np.generic]) -> None:
    """Keep what a constant were with another batch, if that is something else."""
    if not np.array_equal(context.constants[name], other):
        context.other[name] = other
