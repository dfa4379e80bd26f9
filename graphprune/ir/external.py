"""External data of files: embedded, or left where it is in files that no message can hold.

A protobuf message ends at 2 GiB. The tensors of a larger file are checked by their place and size,
read when they are needed, and handed to ONNX Runtime by the folder they lie in.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from graphprune.errors import ModelError

# Messages are below 2 GiB; this leaves room for all that is no tensor.
MESSAGE = (1 << 31) - (1 << 24)
# Smaller tensors are embedded always: shapes and operands are read from them.
SMALL = 1 << 20


def tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """(how messages name it, tensor) of every tensor."""
    for tensor in graph.initializer:
        yield f"initialiser '{tensor.name}'", tensor
    for node in graph.node:
        for attribute in node.attribute:
            where = f"attribute '{attribute.name}' of node '{node.name}' ({node.op_type})"
            if attribute.HasField("t"):
                yield where, attribute.t
            yield from ((where, tensor) for tensor in attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors(inner)


def read_external(proto: onnx.ModelProto, path: Path, label: str) -> None:
    """Embed external data; leave large initialisers outside where all would be too large.

    Raises
    ------
    ModelError
        Data outside the model's folder, missing, or of another size.
    """
    found = [(name, tensor) for name, tensor in tensors(proto.graph) if uses_external_data(tensor)]
    if not found:
        return
    kept: set[int] = set()
    if sum(_bytes(tensor) or 0 for _, tensor in found) + proto.ByteSize() >= MESSAGE:
        kept = {id(t) for t in proto.graph.initializer if (_bytes(t) or 0) >= SMALL}
    for name, tensor in found:
        target = _target(tensor, name, path, label)
        if id(tensor) in kept:
            _check_size(tensor, target, f"{label}: external data of {name}")
        else:
            _embed(tensor, path.parent, f"{label}: external data of {name}")


def is_outside(tensor: onnx.TensorProto) -> bool:
    """True of a tensor whose numbers are not in the message."""
    return bool(uses_external_data(tensor))


def has_external(proto: onnx.ModelProto) -> bool:
    """True where tensors were left outside."""
    return any(is_outside(tensor) for tensor in proto.graph.initializer)


def without_data(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the tensors that were left outside as inputs: for the checker of ONNX."""
    if not has_external(proto):
        return proto
    light = onnx.ModelProto()
    light.CopyFrom(proto)
    listed = {value.name for value in light.graph.input}
    light.graph.ClearField("initializer")
    for tensor in proto.graph.initializer:
        if not is_outside(tensor):
            light.graph.initializer.append(tensor)
        elif tensor.name not in listed:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return light


def _target(tensor: onnx.TensorProto, name: str, path: Path, label: str) -> Path:
    """The file of external data; it lies in the model's folder."""
    folder = path.parent
    location = _entries(tensor).get("location", "")
    # A NUL ends the name for the operating system, not for Python.
    target = (folder / location.partition("\0")[0]).resolve()
    named = location and "\0" not in location and not Path(location).is_absolute()
    if not named or not target.is_relative_to(folder):
        raise ModelError(
            f"{label}: external data of {name} lies outside the model's folder"
            f" ('{location}'); refused"
        )
    if not target.is_file():
        remedy = ""
        if Path(label).is_symlink() and (Path(label).parent / location).exists():
            remedy = f" in {folder}, where the link leads; copy both into one folder (cp -L)"
        raise ModelError(f"{label}: external data file '{location}' of {name} is missing{remedy}")
    return target


def _entries(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _bytes(tensor: onnx.TensorProto) -> int | None:
    """Bytes that a tensor's numbers take; None for types that are packed or unknown."""
    try:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except Exception:
        return None
    packed = kind.kind not in "iufb"
    return None if packed or min(tensor.dims, default=1) < 0 else prod(tensor.dims) * kind.itemsize


def _check_size(tensor: onnx.TensorProto, target: Path, where: str) -> None:
    entries, needed = _entries(tensor), _bytes(tensor)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed or 0))
    except ValueError:
        raise ModelError(f"{where}: its offset or length is no number") from None
    if offset < 0 or length != needed or offset + length > target.stat().st_size:
        raise ModelError(
            f"{where}: {length} bytes at {offset} of {target.stat().st_size}, where its shape"
            f" needs {needed}"
        )


def _embed(tensor: onnx.TensorProto, folder: Path, where: str) -> None:
    try:
        load_external_data_for_tensor(tensor, str(folder))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{where}: {reason}") from None
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]
