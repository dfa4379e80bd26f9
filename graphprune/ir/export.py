"""Writing networks as ONNX files that any consumer reads."""

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from graphprune.errors import OutputError, check_kind
from graphprune.ir.builder import GraphBuilder
from graphprune.ir.external import MESSAGE, has_external
from graphprune.ir.network import A_NETWORK, BATCH, Network, data_inputs, operator
from graphprune.ir.origin import file_model, original, untouched
from graphprune.ir.outputs import with_other_outputs
from graphprune.ir.rebuild import describe_as
from graphprune.ir.source import HeadOperator, Layout, Source
from graphprune.version import __version__

log = logging.getLogger("graphprune")

TOO_LARGE = "the network's weights take {}, and an ONNX file holds 2 GiB"

Rewrite = Callable[[Network], Network]
# Rewrites of the same function that networks go through before they are written: those that bring
# operators of the file back, then those of the dialect's own.
_RESTORING: list[Rewrite] = []
_FORMS: list[Rewrite] = []


def register_written_form(*, restores: bool = False) -> Callable[[Rewrite], Rewrite]:
    """Decorator: a rewrite that every network goes through before it is written.

    It keeps the function, and writes what runs faster, or with smaller rounding errors in float32.

    Parameters
    ----------
    restores
        It brings operators of the file back, which a lowered form does without.
    """

    def wrap(rewrite: Rewrite) -> Rewrite:
        (_RESTORING if restores else _FORMS).append(rewrite)
        return rewrite

    return wrap


def to_proto(network: Network, *, head: bool = True, lowered: bool = False) -> onnx.ModelProto:
    """The network as an ONNX model with the file's input and output names, dtype and layout.

    Parameters
    ----------
    head
        Keep the operators that the file has above the logits (a Softmax, a last Sigmoid).
    lowered
        Write what the file's operators became, for tools that read few.
    """
    for rewrite in (*(() if lowered else _RESTORING), *_FORMS):
        network = rewrite(network)
    source = network.source
    half = source.dtype == np.float16
    b = GraphBuilder(np.float32 if half else source.dtype)
    into, out = source.input_layout, source.output_layout
    batch: int | str = _batch_name(source) if source.batch_size is None else source.batch_size
    x = _point(b, source, batch)
    values = {network.input: x if into.batch is not None else b.op("Unsqueeze", [x, b.ints([0])])}
    # The output's name is the file's; a node may not take it first.
    name = b.fresh(source.file_output if head else source.output_name)
    for node in network.nodes:
        inputs = [values[v] for v in data_inputs(node)]
        values[node.outputs[0]] = operator(node).forward(b, *inputs)
    y = _restore(b, values[network.output], out)
    for kept in source.head if head else ():
        y = _softmax(b, y, kept.op_type, out) if kept.over_classes else _elementwise(b, y, kept)
    if half:  # float16 at both ends only: the arithmetic between is what was checked
        y = b.op("Cast", [y], {"to": int(ir.DataType.FLOAT16)})
    y.name = name
    y.type = ir.TensorType(ir.DataType.from_numpy(source.dtype))
    dims: list[int | str] = [*out.shape]
    if out.batch is not None:
        dims[out.batch] = batch
    y.shape = ir.Shape(dims)
    b.outputs.append(y)
    model = b.build(network.model.graph.name or "network")
    describe_as(model, network.model)
    model.metadata_props["graphprune.version"] = __version__
    size = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value)
    if size >= MESSAGE:
        raise OutputError(TOO_LARGE.format(f"{size / 2**30:.2f} GiB"))
    proto = ir.to_proto(model)
    return onnx.shape_inference.infer_shapes(proto)


def _point(b: GraphBuilder, source: Source, batch: int | str) -> ir.Value:
    """The point, in the arithmetic's type, made of the inputs that the file has."""
    values = []
    for part in source.inputs:
        shape: list[int | str] = [*part.layout.shape]
        if part.layout.batch is not None:
            shape[part.layout.batch] = batch
        value = b.input(part.name, shape, ir.DataType.from_numpy(part.dtype))
        if part.dtype != b.dtype:
            value = b.op("Cast", [value], {"to": int(b.float_type)})
        values.append(value)
    if len(values) == 1:
        return values[0]
    whole = source.input_layout.batch is None
    flat = [b.op("Reshape", [v, b.ints([-1] if whole else [-1, part.layout.size])])
            for v, part in zip(values, source.inputs, strict=True)]  # fmt: skip
    return b.op("Concat", flat, {"axis": 0 if whole else 1})


def _batch_name(source: Source) -> str:
    """The file's own name for its symbolic batch."""
    axis = source.input_layout.batch
    for value in source.proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        known = value.name in {part.name for part in source.inputs}
        if known and axis is not None and axis < len(dims):
            return dims[axis].dim_param or BATCH
    return BATCH


def _restore(b: GraphBuilder, y: ir.Value, layout: Layout) -> ir.Value:
    """Logits (N, classes) in the file's output layout: the output of a node."""
    if layout.batch == 0 and len(layout.sample) == 1 and y.producer() is not None:
        return y
    if layout.batch is None:
        return b.op("Reshape", [y, b.ints(layout.shape)])
    y = b.op("Reshape", [y, b.ints([-1, *layout.sample])])
    axes = list(range(1, len(layout.shape)))
    perm = [*axes[: layout.batch], 0, *axes[layout.batch :]]
    return y if perm[0] == 0 else b.op("Transpose", [y], {"perm": perm})


def _softmax(b: GraphBuilder, y: ir.Value, op_type: str, layout: Layout) -> ir.Value:
    """A softmax over the whole class vector, whatever axes of the file's layout it fills."""
    axes = [i for i, n in enumerate(layout.shape) if i != layout.batch and n == layout.size]
    if axes:
        return b.op(op_type, [y], {"axis": axes[0]})
    flat = b.op("Reshape", [y, b.ints([-1, layout.size])])
    return b.op("Reshape", [b.op(op_type, [flat], {"axis": 1}), b.op("Shape", [y])])


def _elementwise(b: GraphBuilder, y: ir.Value, kept: HeadOperator) -> ir.Value:
    """A function of every number above the logits."""
    inputs = [y if array is None else b.constant(array) for array in kept.operands]
    return b.op(kept.op_type, inputs, kept.attributes)


def with_own_source(network: Network) -> Network:
    """A rewritten network that speaks for itself: points are run through its export."""
    proto = to_proto(network, head=False)
    old = network.source
    digest = hashlib.sha256(proto.SerializeToString()).hexdigest()
    return Network(network.model, replace(old, proto=proto, path=None, sha256=digest, entry=None))


def speaks_for_itself(network: Network) -> bool:
    """True where no rewrite made the network another one than its source, on some ball say."""
    known = {p.key: p.value for p in network.source.proto.metadata_props}
    rewrites = "graphprune.rewrites"
    return network.model.metadata_props.get(rewrites) == known.get(rewrites)


def written(
    network: Network, *, lowered: bool = False, keep_outputs: bool = False
) -> onnx.ModelProto:
    """The network as `save` writes it: the file's own graph where no pass has touched a node.

    Parameters
    ----------
    lowered
        See `to_proto`.
    keep_outputs
        Keep the file's other outputs, computed as in the file.
    """
    if not lowered and untouched(network):
        try:
            proto = original(network, keep_outputs=keep_outputs)
        except OutputError as error:
            if keep_outputs:
                raise
            # The network is still known, if not the file's words for it.
            log.warning("%s: written in canonical form", error)
            return to_proto(network)
        if proto.ByteSize() >= MESSAGE or has_external(proto):
            raise OutputError(TOO_LARGE.format("more than 2 GiB"))
        return proto
    proto = to_proto(network, lowered=lowered)
    origin = network.source.origin
    if keep_outputs and origin is not None and origin.known:
        return with_other_outputs(proto, file_model(origin), network.source.file_output)
    return proto


def save(network: Network, path: str | Path) -> None:
    """Write the network; the file appears whole or not at all.

    Raises
    ------
    GraphpruneError
        `network` is none.
    OutputError
        The file cannot be written.
    """
    check_kind(network, Network, A_NETWORK)
    write_bytes(path, written(network).SerializeToString())


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file through a temporary one beside it, so that a full disk leaves no half file.

    Links are followed; what is no file (a device, a pipe) is written, not replaced.
    """
    temporary = ""
    try:
        if Path(path).exists() and not Path(path).is_file():
            Path(path).write_bytes(data)
            return
        target = Path(os.path.realpath(path))
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise OutputError(f"{path}: cannot write: {error.strerror}") from None
