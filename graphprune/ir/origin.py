"""Parts of a network that are still what the file's nodes became, and the file itself again."""

from collections.abc import Sequence

import onnx
import onnx_ir as ir

from graphprune.errors import ModelError, OutputError
from graphprune.ir.load import ModelFile, read_model
from graphprune.ir.network import Network, data_inputs, operator
from graphprune.ir.shapes import with_shapes
from graphprune.ir.source import Form, Origin
from graphprune.ir.trim import ending_at


def form_of(nodes: Sequence[ir.Node], inputs: Sequence[ir.Value]) -> Form:
    """The form of nodes in graph order that read these values and each other."""
    places = {value: place for place, value in enumerate(inputs)}
    form = []
    for node in nodes:
        form.append((operator(node), tuple(places[value] for value in data_inputs(node))))
        places[node.outputs[0]] = len(places)
    return tuple(form)


def is_form(form: Form, other: Form) -> bool:
    """True for the same operators, objects that rewrites pass on as they are, joined alike."""
    return len(form) == len(other) and all(
        a[0] is b[0] and a[1] == b[1] for a, b in zip(form, other, strict=True)
    )


def between(
    network: Network, output: ir.Value, inputs: Sequence[ir.Value]
) -> tuple[ir.Node, ...] | None:
    """The nodes that compute a value from others; None where they read more, or others read them.

    Parameters
    ----------
    inputs
        The values below the nodes.
    """
    stops, needed, nodes = set(inputs), {output}, []
    for node in reversed(network.nodes):
        if node.outputs[0] in needed and node.outputs[0] not in stops:
            nodes.append(node)
            needed.update(data_inputs(node))
    inner = {node.outputs[0] for node in nodes}
    if not needed - inner <= stops:
        return None
    for value in inner - {output}:
        if value is network.output or any(user.outputs[0] not in inner for user, _ in value.uses()):
            return None
    return tuple(nodes[::-1])


def untouched(network: Network) -> bool:
    """True where a network is what its file became, whatever passes looked at it."""
    origin = network.source.origin
    if origin is None or not origin.known:
        return False
    return is_form(form_of(network.nodes, [network.input]), origin.form)


def file_model(origin: Origin) -> onnx.ModelProto:
    """The whole model of the file.

    Raises
    ------
    OutputError
        The file is gone, or another one now.
    """
    if origin.proto is not None:
        file = ModelFile(origin.proto, None, origin.sha256)
    else:
        assert origin.path is not None
        try:
            file = read_model(origin.path)
        except ModelError as error:
            raise OutputError(f"{error} any more; it was there when it was loaded") from None
        if file.sha256 != origin.sha256:
            raise OutputError(f"{origin.path}: has changed since it was loaded; load it again")
    return with_shapes(file, origin.fix_shape).proto


def original(network: Network, *, keep_outputs: bool = False) -> onnx.ModelProto:
    """The file's own graph without what its outputs do not need.

    Parameters
    ----------
    keep_outputs
        Keep all outputs, not the one that holds the scores alone.
    """
    origin = network.source.origin
    assert origin is not None
    proto = file_model(origin)
    names = [value.name for value in proto.graph.output]
    if not keep_outputs:
        names = [network.source.file_output]
    written = ending_at(proto, *names, keep_inputs=True)
    known = {entry.key: entry for entry in written.metadata_props}
    for key, value in network.model.metadata_props.items():
        entry = known[key] if key in known else written.metadata_props.add(key=key)
        entry.value = value
    return written
