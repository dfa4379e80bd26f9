"""Graphs in front of a network: the way from the points that are asked about to its own inputs."""

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.errors import UnsupportedError
from graphprune.ir.network import Network, Shape, data_inputs, operator
from graphprune.ir.rebuild import NetworkBuilder, Values, describe_as
from graphprune.ir.source import Layout

Floating = NDArray[np.floating]
Type = np.dtype[np.floating]


class Front(Protocol):
    """A map of points z to inputs x, as a graph and as numbers.

    Attributes
    ----------
    local
        True where it belongs to one anchor: points are then told as inputs x, and z is a variable
        that only the computation sees. Otherwise z itself is what people give and read.
    mixes
        True where elements of x move together.
    """

    local: ClassVar[bool]
    mixes: ClassVar[bool]

    @property
    def shape(self) -> Shape:
        """Sample shape of z."""
        ...

    @property
    def numbers(self) -> dict[str, NDArray[np.float64]]:
        """Its numbers by the names that certificates have for them."""
        ...

    def write(self, builder: NetworkBuilder, z: ir.Value) -> ir.Value:
        """Add the map's operators to a canonical graph."""
        ...

    def image(self, z: Floating, dtype: Type) -> Floating:
        """Inputs (N, *sample) in the network's type of points (N, *shape)."""
        ...

    def rounded(self, z: Floating, dtype: Type) -> Floating:
        """Points near these whose inputs are numbers of the network's type."""
        ...


@dataclass(frozen=True, eq=False)
class Entry:
    """The front of a network, and the network behind it, which has the last word on every point."""

    behind: Network
    front: Front

    @property
    def local(self) -> bool:
        """True where the front belongs to one anchor."""
        return self.front.local

    def image(self, z: Floating) -> Floating:
        """Inputs of the network behind, in its type."""
        return self.front.image(z, self.behind.source.dtype)

    def rounded(self, z: Floating) -> Floating:
        """Points near these whose inputs the network behind can take."""
        return self.front.rounded(z, self.behind.source.dtype)

    def before(self, network: Network) -> Network:
        """Another network with the same front."""
        return in_front(network, self.front)


def in_front(network: Network, front: Front) -> Network:
    """The network of the points of a front; it is confirmed by the one behind.

    Raises
    ------
    UnsupportedError
        The network has several inputs.
    """
    require_one_input(network)
    source = network.source
    builder = NetworkBuilder(str(network.input.name), front.shape)
    values: Values = {network.input: front.write(builder, builder.input)}
    for node in network.nodes:
        out = node.outputs[0]
        inputs = [values[value] for value in data_inputs(node)]
        values[out] = builder.add(operator(node), *inputs, name=out.name)
    model = builder.finish(values[network.output], network.model.graph.name or "network")
    describe_as(model, network.model)
    batch = source.input_layout.batch
    layout = Layout(
        front.shape if batch is None else (1, *front.shape), None if batch is None else 0
    )
    return Network(model, replace(source, input_layout=layout, entry=Entry(network, front)))


def require_one_input(network: Network) -> None:
    """Refuse networks whose points are made of several inputs.

    Raises
    ------
    UnsupportedError
        It names them.
    """
    source = network.source
    if source.parts:
        names = ", ".join(part.name for part in source.parts)
        raise UnsupportedError(
            f"{source.path or 'the model'}: threat models other than masks are for networks of one"
            f" input; this one has {names}"
        )
