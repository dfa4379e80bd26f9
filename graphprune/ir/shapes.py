"""Sizes of inputs: those a file declares, and those a user gives to its dynamic axes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import onnx

from graphprune.errors import GraphpruneError, nearest
from graphprune.ir.load import ModelFile

Shapes = Mapping[str, Sequence[int]]


def declared(value: onnx.ValueInfoProto) -> list[int | None]:
    """The axes of a tensor of a file; None is dynamic, which some exporters write as -1."""
    return [
        d.dim_value if d.HasField("dim_value") and d.dim_value != -1 else None
        for d in value.type.tensor_type.shape.dim
    ]


def inputs_of(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs of a graph that are none of its weights."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def parse_shapes(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Sizes by input of texts such as ``x=1,3,224,224``.

    Raises
    ------
    GraphpruneError
        A text that is none, or two about one input.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        try:
            shape = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            shape = ()
        if not name or not shape:
            raise GraphpruneError(f"--fix-shape takes NAME=1,3,224,224, not '{text}'")
        if name in shapes:
            raise GraphpruneError(f"--fix-shape gives the input '{name}' twice")
        shapes[name] = shape
    return shapes


def with_shapes(file: ModelFile, shapes: Shapes | None) -> ModelFile:
    """The file with sizes for the dynamic axes of its inputs.

    Parameters
    ----------
    shapes
        All axes of an input, by its name; -1 leaves an axis as it is.

    Raises
    ------
    GraphpruneError
        No such input, another number of axes, or another size than the file's.
    """
    if not shapes:
        return file
    proto = onnx.ModelProto()
    proto.CopyFrom(file.proto)
    known = {value.name: value for value in inputs_of(proto.graph)}
    for name, shape in shapes.items():
        if name not in known:
            raise GraphpruneError(f"{file.label}: no input '{name}'{nearest(name, list(known))}")
        own = declared(known[name])
        where = f"{file.label}: the input '{name}' has the shape {written(known[name])}"
        if len(own) != len(shape):
            raise GraphpruneError(f"{where}, which {len(shape)} sizes do not fit")
        for axis, (old, new) in enumerate(zip(own, shape, strict=True)):
            if new < 1 and new != -1:
                raise GraphpruneError(f"{where}; its axis {axis} cannot have the size {new}")
            if old not in (None, new) and new != -1:
                raise GraphpruneError(f"{where}: its axis {axis} is {old}, not {new}")
            if new != -1:
                known[name].type.tensor_type.shape.dim[axis].dim_value = new
    return replace(file, proto=proto)


def written(value: onnx.ValueInfoProto) -> str:
    """``(N, 3, ?, ?)``: the declared shape with the file's own names."""
    dims = zip(declared(value), value.type.tensor_type.shape.dim, strict=True)
    return f"({', '.join(str(size or dim.dim_param or '?') for size, dim in dims)})"


def remedy(value: onnx.ValueInfoProto) -> str:
    """The advice to give an input's dynamic axes a size."""
    sizes = ["1" if size is None and not axis else str(size or "SIZE")
             for axis, size in enumerate(declared(value))]  # fmt: skip
    shape = ",".join(sizes)
    return f"give it a size: --fix-shape {value.name}={shape}, or gp.load(path, fix_shape=...)"
