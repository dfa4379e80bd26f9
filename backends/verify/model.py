"""The network that a property speaks about: which of a file's outputs, cut where."""

from math import prod
from pathlib import Path

from graphprune.backends.verify.head import answerable
from graphprune.canonical import canonicalise
from graphprune.canonical.outputs import float_outputs, joined
from graphprune.errors import GraphpruneError
from graphprune.ir import Network
from graphprune.ir.load import ModelFile, read_model
from graphprune.ir.shapes import Shapes, with_shapes
from graphprune.vnnlib import Property


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
    return network


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
    name = prop.input_names[0] if len(prop.input_names) == 1 else None
    if name is not None and name != network.source.input_name:
        raise GraphpruneError(
            f"the property is about the input '{name}'; {network.source.path or 'the model'} has"
            f" '{network.source.input_name}'"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
