"""Reading model files: everything that can be wrong with a file is said here, once."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import numpy_helper

from graphprune.errors import ModelError, UnsupportedError
from graphprune.ir.external import is_outside, read_external, tensors, without_data

OPSETS = range(7, 27)
DOMAINS = {"", "ai.onnx"}
# Local functions may call others: more nodes than this when all are inlined is a bomb.
MAX_INLINED = 100_000


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A checked model: external data embedded as far as a message holds it, opset known."""

    proto: onnx.ModelProto
    path: Path | None
    sha256: str

    @property
    def label(self) -> str:
        """The model's name in messages."""
        return str(self.path) if self.path else "model"


def read_model(path: str | Path) -> ModelFile:
    """Read and check an ONNX file.

    Raises
    ------
    ModelError
        Missing, unreadable, truncated or invalid file, external data outside the model's folder,
        recursive local functions.
    UnsupportedError
        Opset or operator domain outside the supported ones.
    """
    # Resolved first: containment of external data is judged against the real folder.
    resolved = Path(path).resolve()
    try:
        data = resolved.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read: {error.strerror}") from None
    proto = _parsed(data, str(path))
    read_external(proto, resolved, str(path))
    return check_model(ModelFile(proto, resolved, hashlib.sha256(data).hexdigest()))


def model_in_memory(model: bytes | onnx.ModelProto) -> ModelFile:
    """Check a model that is no file: a proto, or the bytes of one.

    Raises
    ------
    ModelError
        As `read_model`; and weights in files of their own, for which a path is needed.
    UnsupportedError
        As `read_model`.
    """
    data = model if isinstance(model, bytes) else model.SerializeToString()
    proto = model if isinstance(model, onnx.ModelProto) else _parsed(data, "model")
    for name, tensor in tensors(proto.graph):
        if is_outside(tensor):
            raise ModelError(
                f"model: {name} is stored in a file of its own, which a model in memory does not"
                " have: load it by its path"
            )
    return check_model(ModelFile(proto, None, hashlib.sha256(data).hexdigest()))


def _parsed(data: bytes, label: str) -> onnx.ModelProto:
    try:
        proto = onnx.load_model_from_string(data)
    except Exception:
        raise ModelError(
            f"{label}: not an ONNX model, or truncated ({len(data)} bytes); export it again"
        ) from None
    if not proto.ir_version or not proto.HasField("graph") or not proto.opset_import:
        raise ModelError(f"{label}: not an ONNX model: it declares no IR version, opset or graph")
    return proto


def check_model(file: ModelFile) -> ModelFile:
    """Check a model in memory as `read_model` does; returns it unchanged."""
    label = file.label
    for opset in file.proto.opset_import:
        if opset.domain not in DOMAINS:
            continue  # judged when a node of the domain is met
        if opset.version not in OPSETS:
            raise UnsupportedError(
                f"{label}: opset {opset.version} is not supported"
                f" (supported: {OPSETS.start} to {OPSETS.stop - 1}); export with another opset"
            )
    _check_names(file.proto.graph, label)
    _check_functions(file.proto, label)
    _check_dense(file.proto, label)
    try:
        onnx.checker.check_model(_with_output_shapes(without_data(file.proto)))
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{label}: not a valid ONNX model: {reason}") from None
    for name, tensor in tensors(file.proto.graph):
        if file.path is None or not is_outside(tensor):
            _check_readable(tensor, f"{label}: {name}")
    return file


def _check_names(graph: onnx.GraphProto, label: str) -> None:
    """Names are text: a damaged file may hold bytes that are none, and nothing can write them."""
    for number, node in enumerate(graph.node):
        for name in (node.name, node.op_type, node.domain, *node.input, *node.output):
            if not isinstance(name, str):
                raise ModelError(f"{label}: node number {number}: the name {name!r} is not UTF-8")
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _check_names(inner, label)
    for value in (*graph.initializer, *graph.input, *graph.output):
        if not isinstance(value.name, str):
            raise ModelError(f"{label}: the name {value.name!r} is not UTF-8")


def _check_dense(proto: onnx.ModelProto, label: str) -> None:
    remedy = "is a sparse tensor, which is not supported; store it densely"
    for sparse in proto.graph.sparse_initializer:
        raise UnsupportedError(f"{label}: initialiser '{sparse.values.name}' {remedy}")
    for node in (*proto.graph.node, *(n for f in proto.functions for n in f.node)):
        if any(a.HasField("sparse_tensor") or a.sparse_tensors for a in node.attribute):
            raise UnsupportedError(f"{label}: node '{node.name}' ({node.op_type}) {remedy}")


def _check_functions(proto: onnx.ModelProto, label: str) -> None:
    """Local functions must end: no recursion, and not too many nodes when inlined."""
    functions = {(f.domain, f.name): f for f in proto.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[onnx.NodeProto], inside: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            total += 1
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    total += size(graph.node, inside)
            if key in inside or len(inside) > 64:
                names = " -> ".join(name for _, name in (*inside, key))
                raise ModelError(f"{label}: local functions call each other without end: {names}")
            if key in functions and key not in sizes:
                sizes[key] = size(functions[key].node, (*inside, key))
            total += sizes.get(key, 0)
        return total

    if functions and (count := size(proto.graph.node, ())) > MAX_INLINED:
        raise ModelError(f"{label}: its local functions stand for {count} nodes; too many")


def _with_output_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Older exporters leave out the output's shape, which the checker demands."""
    if all(value.type.tensor_type.HasField("shape") for value in proto.graph.output):
        return proto
    shaped = onnx.shape_inference.infer_shapes(proto)
    for value in shaped.graph.output:
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.SetInParent()  # what inference cannot find is no fault
    return shaped


def _check_readable(tensor: onnx.TensorProto, where: str) -> None:
    try:
        numpy_helper.to_array(tensor)
    except Exception as error:
        raise ModelError(f"{where}: unreadable tensor: {error}") from None


def half_precision(proto: onnx.ModelProto) -> str:
    """``3 FLOAT16 tensors`` where a model has 16-bit weights or inputs, else an empty string."""
    kinds = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    found = [tensor.data_type for _, tensor in tensors(proto.graph)]
    found += [value.type.tensor_type.elem_type for value in proto.graph.input]
    counts = {onnx.TensorProto.DataType.Name(kind): found.count(kind) for kind in kinds}
    return ", ".join(f"{n} {name} tensors" for name, n in counts.items() if n)
