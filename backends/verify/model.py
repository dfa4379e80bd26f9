"""The network that a property speaks about: which of a file's outputs, cut where."""

from dataclasses import replace
from math import prod
from pathlib import Path

import onnx

from graphprune.backends.verify.head import answerable
from graphprune.canonical import canonicalise
from graphprune.canonical.outputs import float_outputs, joined
from graphprune.errors import GraphpruneError
from graphprune.ir import Network
from graphprune.ir.load import ModelFile, read_model
from graphprune.ir.shapes import Shapes, with_shapes
from graphprune.ir.source import HeadOperator
from graphprune.vnnlib import Property

# They change the shape or the type of class numbers, not their values.
RESHAPES = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
# Types of a Cast that hold the number of every class.
WIDE = {onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.DOUBLE}


def network_for(
    path: str | Path,
    prop: Property,
    output: str | None = None,
    *,
    fix_shape: Shapes | None = None,
) -> Network:
    """Load the network that a property is about.

    Parameters
    ----------
    output
        The file's output that Y stands for. By default the one that the property names, the only
        one that holds floats, or all of them, where Y has as many elements as these together.

    fix_shape
        Sizes for the dynamic axes of inputs; see `graphprune.load`.

    Raises
    ------
    GraphpruneError
        The file cannot be read; the property names another input or output.
    """
    file = with_shapes(read_model(path), fix_shape)
    named = [name for name in prop.output_names if name is not None]
    if output is not None and named and named != [output]:
        raise GraphpruneError(
            f"the property is about the output {_listed(named)}, not about '{output}'"
        )
    if output is None and len(named) == len(prop.output_names) == 1:
        output = named[0]
    if output is None:
        file = _all_outputs(file, prop, named)
    network = canonicalise(file, output=output)
    if not answerable(network, prop):
        network = canonicalise(file, output=output, whole=True)
    _check_inputs(network, prop)
    return _of_labels(network, file)


def _of_labels(network: Network, file: ModelFile) -> Network:
    """The network with the ArgMax in its head that loading has cut, where the output is its own."""
    source = network.source
    producers = {out: node for node in file.proto.graph.node for out in node.output}
    name = source.file_output
    while (node := producers.get(name)) is not None and _keeps(node):
        name = node.input[0]
    if source.head or node is None or node.op_type != "ArgMax":
        return network
    if node.input[0] != source.output_name:
        return network
    head = (HeadOperator.of(node, over_classes=True),)
    return replace(network, source=replace(source, head=head, dropped=False))


def _keeps(node: onnx.NodeProto) -> bool:
    """True where a node keeps a class's number."""
    wide = node.op_type == "Cast" and any(a.name == "to" and a.i in WIDE for a in node.attribute)
    return wide or node.op_type in RESHAPES


def _all_outputs(file: ModelFile, prop: Property, named: list[str]) -> ModelFile:
    """The file with its outputs joined where Y stands for all of them."""
    found = float_outputs(file)
    unknown = [name for name in named if name not in found]
    if unknown:
        raise GraphpruneError(f"{file.label}: no output {_listed(unknown)} that holds floats")
    # Elements follow the order of the property's tensors, where they are named.
    names = named if len(named) == len(prop.output_names) > 1 else list(found)
    shapes = [found[name] for name in names]
    sizes = [prod(length or 0 for length in shape[1:]) for shape in shapes]
    batched = all(len(shape) > 1 for shape in shapes)
    if len(names) > 1 and batched and sum(sizes) == prop.outputs and all(sizes):
        return joined(file, names)
    return file


def _check_inputs(network: Network, prop: Property) -> None:
    named = [name for name in prop.input_names if name is not None]
    own = [part.name for part in network.source.inputs]
    # Elements are numbered in the order of the file's inputs.
    if named and named != own:
        model = network.source.path or "the model"
        raise GraphpruneError(
            f"the property is about the input {_listed(named)}; {model} has {_listed(own)}"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
