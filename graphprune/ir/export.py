"""Writing networks as ONNX files that any consumer reads."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir

from graphprune import __version__
from graphprune.errors import OutputError
from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import BATCH, Network, data_inputs, operator
from graphprune.ir.source import Layout, Source


def to_proto(network: Network) -> onnx.ModelProto:
    """The network as an ONNX model with the file's input and output names, dtype and layout."""
    source = network.source
    b = GraphBuilder(source.dtype)
    into, out = source.input_layout, source.output_layout
    batch: int | str = _batch_name(source) if source.batch_size is None else source.batch_size
    shape: list[int | str] = [*into.shape]
    if into.batch is not None:
        shape[into.batch] = batch
    x = b.input(source.input_name, shape)
    values = {network.input: x if into.batch is not None else b.op("Unsqueeze", [x, b.ints([0])])}
    # The output's name is the file's; a node may not take it first.
    b.fresh(source.output_name)
    for node in network.nodes:
        inputs = [values[v] for v in data_inputs(node)]
        values[node.outputs[0]] = operator(node).forward(b, *inputs)
    y = _restore(b, values[network.output], out)
    y.name = source.output_name
    y.type = ir.TensorType(b.float_type)
    dims: list[int | str] = [*out.shape]
    if out.batch is not None:
        dims[out.batch] = batch
    y.shape = ir.Shape(dims)
    b.outputs.append(y)
    model = b.build(network.model.graph.name or "network")
    model.metadata_props.update(network.model.metadata_props)
    model.metadata_props["graphprune.version"] = __version__
    proto = ir.to_proto(model)
    return onnx.shape_inference.infer_shapes(proto)


def _batch_name(source: Source) -> str:
    """The file's own name for its symbolic batch."""
    axis = source.input_layout.batch
    for value in source.proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name == source.input_name and axis is not None and axis < len(dims):
            return dims[axis].dim_param or BATCH
    return BATCH


def _restore(b: GraphBuilder, y: ir.Value, layout: Layout) -> ir.Value:
    """Logits (N, classes) in the file's output layout, always as a node of its own."""
    if layout.batch is None:
        return b.op("Reshape", [y, b.ints(layout.shape)])
    y = b.op("Reshape", [y, b.ints([-1, *layout.sample])])
    axes = list(range(1, len(layout.shape)))
    perm = [*axes[: layout.batch], 0, *axes[layout.batch :]]
    return y if perm[0] == 0 else b.op("Transpose", [y], {"perm": perm})


def with_own_source(network: Network) -> Network:
    """A rewritten network that speaks for itself: points are run through its export."""
    proto = to_proto(network)
    old = network.source
    digest = hashlib.sha256(proto.SerializeToString()).hexdigest()
    source = Source(
        proto, None, digest, old.input_name, old.output_name,
        old.input_layout, old.output_layout, old.batch_size, old.dtype,
    )  # fmt: skip
    return Network(network.model, source)


def save(network: Network, path: str | Path) -> None:
    """Write the network; the file appears whole or not at all.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_bytes(path, to_proto(network).SerializeToString())


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file through a temporary one beside it, so that a full disk leaves no half file."""
    target = Path(path)
    temporary = ""
    try:
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
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise OutputError(f"{path}: cannot write: {error.strerror}") from None
