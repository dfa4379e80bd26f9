"""The skip-free form of a network: values that pass a layer become neurons with a shift."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.bounds import Boxes, Method, pre_activation_bounds
from graphprune.errors import PipelineError
from graphprune.ir import Network
from graphprune.ir.network import operator, size
from graphprune.ir.rebuild import NetworkBuilder, rebuilt
from graphprune.operators import Conv, Dense, Relu, Reshape
from graphprune.region import Region
from graphprune.transforms.matrix import matrix_of
from graphprune.transforms.replace import apply
from graphprune.transforms.rounding import gamma

Floats = NDArray[np.float64]
# A layer with a larger matrix is not written out.
LARGEST = 1 << 26


def is_chain(network: Network) -> bool:
    """True where every node reads the one before it, and only Conv, Gemm, Reshape, ReLU occur."""
    values = [network.input, *(node.outputs[0] for node in network.nodes)]
    return all(
        isinstance(operator(node), Conv | Dense | Reshape | Relu) and node.inputs[0] is before
        for node, before in zip(network.nodes, values, strict=False)
    )


def sequential(network: Network, region: Region, method: Method = "crown") -> tuple[Network, int]:
    """The network as a chain, equal to it on `region`; and how many neurons carry a shift."""
    if is_chain(network):
        return apply(network, {}), 0
    chain = _Chain(network, region, method)
    for index in range(len(network.activations)):
        chain.layer(index)
    weight, bias = chain.known[-1]
    chain.layers.append((weight, bias))
    return chain.build(relu=False), chain.shifted


class _Chain:
    """Layers so far; `known[t]` is what segment t's target is, as far as their output v tells.

    target_t = weight v + bias + (terms of activations that are not computed yet)
    """

    def __init__(self, network: Network, region: Region, method: Method) -> None:
        self.network = network
        self.boxes = Boxes.of(region)
        self.method = method
        self.layers: list[tuple[Floats, Floats]] = []
        self.shifted = 0
        self.place = {id(a.outputs[0]): i for i, a in enumerate(network.activations)}
        self.alive = [np.flatnonzero(network.live(a)) for a in network.activations]
        self.rows = [*self.alive, np.arange(size(network.output))]
        # terms[t][j]: columns of segment t for the live neurons of activation j.
        self.terms: list[dict[int, Floats]] = []
        self.known: list[tuple[Floats, Floats]] = []
        for t, segment in enumerate(network.segments):
            rows = self.rows[t]
            weight = np.zeros((len(rows), size(network.input)))
            terms = {}
            for place, source in enumerate(segment.sources):
                j = self.place.get(id(source))
                columns = np.arange(size(source)) if j is None else self.alive[j]
                if size(segment.target) * len(columns) > LARGEST:
                    raise PipelineError(
                        f"pass 'sequential': '{segment.target.name}' would become a matrix"
                        f" of {size(segment.target)} x {len(columns)}; too large to write out"
                    )
                matrix = matrix_of(network, t).weights[place][rows][:, columns].toarray()
                if j is None:
                    weight = matrix
                else:
                    terms[j] = matrix
            self.terms.append(terms)
            self.known.append((weight, matrix_of(network, t).offset[rows]))

    def layer(self, index: int) -> None:
        """Make the ReLU layer of activation `index`, carrying what later segments need."""
        weight, bias = self.known[index]
        later = range(index + 1, len(self.known))
        parts = [self.known[t][0] for t in later]
        used = np.flatnonzero(np.any([np.any(p != 0, axis=0) for p in parts], axis=0))
        sums = [np.flatnonzero(np.any(p != 0, axis=1)) for p in parts]
        elements = len(used) <= sum(map(len, sums))
        if elements:
            carried = np.zeros((len(used), weight.shape[1]))
            carried[np.arange(len(used)), used] = 1.0
        else:
            carried = np.concatenate([p[rows] for p, rows in zip(parts, sums, strict=True)])
        # Outputs of ReLUs are never negative; the input and sums are, and need a shift.
        shift = np.zeros(len(carried))
        if len(carried) and not (elements and self.layers):
            shift = self._lower(carried)
        self.shifted += int(np.count_nonzero(shift))
        self.layers.append(
            (np.concatenate([weight, carried]), np.concatenate([bias, -shift]))
        )  # fmt: skip
        start = len(weight)
        width = start + len(carried)
        for number, t in enumerate(later):
            old, constant = self.known[t]
            new = np.zeros((len(old), width))
            if elements:
                new[:, start:] = old[:, used]
                constant = constant + old[:, used] @ shift
            else:
                first = start + sum(len(rows) for rows in sums[:number])
                place = first + np.arange(len(sums[number]))
                new[sums[number], place] = 1.0
                constant = constant.copy()
                constant[sums[number]] += shift[place - start]
            if index in self.terms[t]:
                new[:, :start] = self.terms[t][index]
            self.known[t] = (new, constant)

    def _lower(self, rows: Floats) -> Floats:
        """Certified lower bounds of rows . v on the region, below float32's error too."""
        self.layers.append((rows, np.zeros(len(rows))))
        chain = self.build(relu=True)
        self.layers.pop()
        bounds = pre_activation_bounds(chain, self.boxes, self.method, every=True)[-1]
        error = 4.0 * gamma(rows.shape[1]) * bounds.magnitude[0].astype(np.float64)
        lower: Floats = bounds.lower[0].astype(np.float64) - error
        return np.minimum(lower, 0.0)

    def build(self, *, relu: bool) -> Network:
        """The layers as a network; `relu` after the last one too."""

        def write(builder: NetworkBuilder) -> ir.Value:
            value = builder.input
            shape, flat = self.network.input_shape, (size(self.network.input),)
            if shape != flat:
                value = builder.add(Reshape(shape, flat), value, name="flat")
            for i, (weight, bias) in enumerate(self.layers):
                value = builder.add(Dense(weight, bias), value, name=f"layer{i + 1}")
                if relu or i + 1 < len(self.layers):
                    value = builder.add(Relu(), value, name=f"relu{i + 1}")
            return value

        return rebuilt(self.network, write)
