"""The inputs of a file as one point: several tensors are one after the other, each row-major."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from graphprune.canonical.batch import SYMBOLIC_BATCH
from graphprune.canonical.context import Context, Tracked
from graphprune.canonical.memory import VALUE, bytes_of, value_too_large
from graphprune.errors import UnsupportedError
from graphprune.ir.shapes import declared, remedy
from graphprune.ir.source import InputPart, Layout
from graphprune.operators import Gather

FLOATS: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.DOUBLE: np.dtype(np.float64),
    onnx.TensorProto.FLOAT16: np.dtype(np.float16),
}


@dataclass(frozen=True)
class Point:
    """The point that a network is a function of.

    Attributes
    ----------
    name
        The file's input, or all of them.
    layout
        Layout of the point.
    batch_size
        The batch size the file fixes; None where it is symbolic or absent.
    dtype
        The widest type of its parts.
    parts
        The file's inputs in order.
    """

    name: str
    layout: Layout
    batch_size: int | None
    dtype: np.dtype[np.floating]
    parts: tuple[InputPart, ...]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs, their batch bound."""
        return {part.name: part.layout.shape for part in self.parts}


def point_of(label: str, inputs: Sequence[onnx.ValueInfoProto], proto: onnx.ModelProto) -> Point:
    """The point that the inputs of a model with one output are.

    Raises
    ------
    UnsupportedError
        An input without floats, without a static sample shape, or too large.
    """
    parts = tuple(_part(label, value, proto) for value in inputs)
    if len(parts) == 1:
        layout = parts[0].layout
        size = None if layout.batch is None else layout.shape[layout.batch]
        fixed = None if size == SYMBOLIC_BATCH else size
        return Point(parts[0].name, layout, fixed, parts[0].dtype, parts)
    parts, batch = _with_one_batch(parts)
    total = sum(part.layout.size for part in parts)
    layout = Layout((total,), None) if batch is None else Layout((batch, total), 0)
    dtype = np.result_type(*(part.dtype for part in parts))
    name = "_and_".join(part.name for part in parts)
    return Point(name, layout, None if batch == SYMBOLIC_BATCH else batch, dtype, parts)


def track_parts(context: Context, point: Point) -> None:
    """Tell a legalisation where the file's inputs are."""
    if len(point.parts) == 1:
        context.tracked[point.name] = context.input
        return
    start, total = 0, point.layout.size
    for part in point.parts:
        cells = np.arange(start, start + part.layout.size)
        own = replace(point.layout, shape=(*point.layout.shape[:-1], len(cells)))
        read = context.emit(Gather(0, cells, (total,)), context.input, layout=own)
        context.tracked[part.name] = context.relayout(
            Tracked(read.value, Layout((1, len(cells)), 0)), part.layout
        )
        start += part.layout.size


def _with_one_batch(parts: tuple[InputPart, ...]) -> tuple[tuple[InputPart, ...], int | None]:
    """The parts with batches of one size, and that size; None where there is none.

    Points are run one by one where some part has a batch of its own, or none.
    """
    sizes = {None if p.layout.batch is None else p.layout.shape[p.layout.batch] for p in parts}
    if len(sizes) == 1:
        return parts, sizes.pop()
    bound = 1 if sizes <= {None, 1, SYMBOLIC_BATCH} else None
    made = []
    for part in parts:
        shape, batch = part.layout.shape, part.layout.batch
        if batch is not None and bound == 1:
            made.append(replace(part, layout=Layout((1, *shape[1:]), 0)))
        else:
            made.append(replace(part, layout=Layout(shape, None)))
    return tuple(made), bound


def _part(label: str, value: onnx.ValueInfoProto, proto: onnx.ModelProto) -> InputPart:
    """An input: its batch axis is its first where that may be one."""
    where = f"{label}: input '{value.name}'"
    tensor = value.type.tensor_type
    if tensor.elem_type not in FLOATS:
        names = {number: name for name, number in onnx.TensorProto.DataType.items()}
        name = names.get(tensor.elem_type, str(tensor.elem_type))
        raise UnsupportedError(
            f"{where} has type {name}; supported: FLOAT, DOUBLE, FLOAT16: distances are between"
            " floats. Export the model with it as a float that is cast inside, or with a constant"
            " in its place"
        )
    if not tensor.HasField("shape") or not tensor.shape.dim:
        raise UnsupportedError(f"{where} declares no shape; export with a static sample shape")
    dims = declared(value)
    for axis, length in enumerate(dims):
        if length is None and axis > 0:
            name = tensor.shape.dim[axis].dim_param or "?"
            raise UnsupportedError(
                f"{where}: axis {axis} ('{name}') is dynamic; only the batch (axis 0) may be:"
                f" {remedy(value)}"
            )
        if length is not None and length <= 0:
            raise UnsupportedError(f"{where}: axis {axis} has size {length}")
    if (size := bytes_of(length or 1 for length in dims)) > VALUE:
        raise UnsupportedError(f"{where}: holds {value_too_large(size)}")
    dtype = FLOATS[tensor.elem_type]
    known = tuple(length or 0 for length in dims[1:])
    if dims[0] is None:
        if not known:
            raise UnsupportedError(f"{where}: its only axis is dynamic; {remedy(value)}")
        return InputPart(value.name, Layout((SYMBOLIC_BATCH, *known), 0), dtype)
    shape = (dims[0], *known)
    batched = len(shape) > 1 and (dims[0] == 1 or _first_of_output(proto) == dims[0])
    return InputPart(value.name, Layout(shape, 0 if batched else None), dtype)


def _first_of_output(proto: onnx.ModelProto) -> int:
    """Length of the first of several axes of a model's output; 0 where it is not known."""
    scores = proto.graph.output[0]
    dims = scores.type.tensor_type.shape.dim
    if not dims or not dims[0].HasField("dim_value"):
        # The file speaks of a batch of any size, but its inputs have been given one.
        bound = onnx.ModelProto()
        bound.CopyFrom(proto)
        bound.graph.output[0].type.tensor_type.ClearField("shape")
        del bound.graph.value_info[:]
        (scores,) = onnx.shape_inference.infer_shapes(bound).graph.output
    output = [d.dim_value for d in scores.type.tensor_type.shape.dim]
    return output[0] if len(output) > 1 else 0
