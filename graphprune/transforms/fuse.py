"""Fusion of affine maps: which segments become one matrix, by a cost model of ONNX Runtime."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.network import (
    Network,
    affine,
    is_paired,
    operator,
    pre_activation,
    sample_shape,
    size,
)
from graphprune.ir.rebuild import NetworkBuilder, Values, map_operators
from graphprune.operators import Add, Dense, Reshape
from graphprune.operators.cost import (
    ELEMENTWISE,
    NODE,
    NOTHING,
    Cost,
    cost,
    matrix_cost,
    network_cost,
)
from graphprune.operators.simplify import simplify
from graphprune.transforms.matrix import matrix_of
from graphprune.transforms.merge_neurons import merge_neurons
from graphprune.transforms.replace import without_dead_layers

# A matrix larger than this is never written out, however many operations it would save.
LARGEST = 1 << 26


def _words(cost: Cost) -> str:
    return (
        f"{cost.multiply_adds} multiply-adds, {cost.numbers} numbers,"
        f" about {cost.nanoseconds / 1e3:.1f} us"
    )


def fuse(network: Network, *, block: int = 1) -> tuple[Network, list[str]]:
    """The same function with segments fused, keeping the source, and the form of every segment.

    Parameters
    ----------
    block
        See `merge_neurons`.
    """
    network = without_dead_layers(merge_neurons(network, block=block)[0])
    network = simplify(network)
    plan = FusionPlan(network)
    if any(plan.dense):
        built = simplify(plan.build())
        # Skips around kept neurons can make matrices add up to more than they save.
        before, after = network_cost(network), network_cost(built)
        if after.no_worse(before):
            notes = [plan.describe(i) for i in range(len(plan.dense))]
            if built.live_neurons >= network.live_neurons:
                return built, notes
            # Matrices show neurons that nothing reads: without them there may be more to fuse.
            again, more = fuse(built, block=block)
            return again, [*notes, *more]
        plan.dense = [False] * len(plan.dense)
        whole = f"kept: {_words(before)} in all (with its matrices: {_words(after)})"
        return network, [*(plan.describe(i) for i in range(len(plan.dense))), whole]
    return network, [plan.describe(i) for i in range(len(plan.dense))]


class FusionPlan:
    """Which segments become a matrix, and which layers become vectors of live neurons."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.index = {id(a.outputs[0]): i for i, a in enumerate(network.activations)}
        self.alive = [network.live(a) for a in network.activations]
        count = len(network.segments)
        self.dense = [self._pays(i, vectors=[True] * count) for i in range(count)]
        # A layer read by a segment that stays as it is keeps its shape, and so costs more;
        # deciding again can only take matrices away, so this ends.
        while True:
            vectors = [self._vector(i) for i in range(count)]
            dense = [d and self._pays(i, vectors) for i, d in enumerate(self.dense)]
            if dense == self.dense:
                break
            self.dense = dense
        self.vectors = vectors

    def _vector(self, index: int) -> bool:
        """True where layer `index` is only the vector of its live neurons."""
        if index == len(self.alive) or not self.dense[index]:
            return False
        node = self.network.activations[index]
        if is_paired(operator(node)):
            return False
        target, out = pre_activation(node), node.outputs[0]
        for i, segment in enumerate(self.network.segments):
            if i != index and segment.target is target:
                return False
            reads = out in segment.sources or target.producer() in segment.nodes
            if reads and not self.dense[i]:
                return False
        return True

    def _width(self, source: ir.Value, vectors: list[bool]) -> int:
        index = self.index.get(id(source))
        if index is None or not vectors[index]:
            return size(source)
        return int(self.alive[index].sum())

    def _rows(self, index: int, vectors: list[bool]) -> int:
        if index == len(self.alive):
            return size(self.network.output)
        return int(self.alive[index].sum()) if vectors[index] else self.alive[index].size

    def _pays(self, index: int, vectors: list[bool]) -> bool:
        segment = self.network.segments[index]
        if not segment.nodes or any(s is segment.target for s in segment.sources):
            return False
        matrix = self._matrix_cost(index, vectors)
        small = 0 < matrix.multiply_adds <= LARGEST
        return small and matrix != self._cost(index) and matrix.no_worse(self._cost(index))

    def _cost(self, index: int) -> Cost:
        """The cost of the segment as it is."""
        nodes = self.network.segments[index].nodes
        return sum((cost(affine(n), sample_shape(n.outputs[0])) for n in nodes), NOTHING)

    def _matrix_cost(self, index: int, vectors: list[bool]) -> Cost:
        """The cost of one matrix per source, summed, between the reshapes that they need."""
        segment, rows = self.network.segments[index], self._rows(index, vectors)
        total = NOTHING
        for number, source in enumerate(segment.sources):
            place = self.index.get(id(source))
            shaped = len(sample_shape(source)) > 1 and (place is None or not vectors[place])
            total += matrix_cost(rows, self._width(source, vectors), moves=int(shaped))
            if number:
                total += Cost(NODE + rows / ELEMENTWISE, 0, rows)
        flat = index == len(self.alive) or vectors[index]
        if not flat and len(sample_shape(segment.target)) > 1:
            total += Cost(NODE, 0, rows)
        return total

    def describe(self, index: int) -> str:
        """Text: the form of a segment and its cost, and the cost of the other form."""
        segment = self.network.segments[index]
        kinds = [type(affine(n)).__name__ for n in segment.nodes if affine(n).multiply_adds]
        form = "matrix" if kinds == ["Dense"] else "factored"
        if set(kinds) <= {"Conv", "ConvTranspose"}:
            form = "convolution" if len(kinds) == 1 else "factored" if kinds else "data movement"
        old, new = self._cost(index), self._matrix_cost(index, self.vectors)
        if self.dense[index]:
            form, old, new = "matrix", new, old
        chosen = f"{form} {'+'.join(kinds)}".strip() if not self.dense[index] else form
        other = "as before" if self.dense[index] else "as a matrix"
        return (
            f"segment {index + 1} '{segment.target.name}': {chosen}: {_words(old)}"
            f" ({other}: {_words(new)})"
        )

    def build(self) -> Network:
        network = self.network
        matrices = {s.nodes[-1]: i for i, s in enumerate(network.segments) if self.dense[i]}
        written = {*network.activations, *matrices}.union(
            *(s.nodes for s, dense in zip(network.segments, self.dense, strict=True) if not dense)
        )

        def change(builder: NetworkBuilder, node: ir.Node, values: Values) -> ir.Value | None:
            index = matrices.get(node)
            return None if index is None else self._matrix(builder, index, values)

        return map_operators(network, change, [n for n in network.nodes if n in written])

    def _matrix(
        self,
        builder: NetworkBuilder,
        index: int,
        values: Values,
    ) -> ir.Value:
        """One Dense per source, summed; the target as a vector or in its own shape."""
        segment = self.network.segments[index]
        top = index == len(self.alive)
        vector = top or self.vectors[index]
        keep = np.arange(size(segment.target))
        if not top and vector:
            keep = np.flatnonzero(self.alive[index])
        matrix = matrix_of(self.network, index)
        bias = matrix.offset[keep]
        name = str(segment.target.name)
        total: ir.Value | None = None
        for source, sparse in zip(segment.sources, matrix.weights, strict=True):
            x = values[source]
            weight = sparse[keep][:, self._columns(source)].toarray()
            flat = (weight.shape[1],)
            if sample_shape(x) != flat:
                x = builder.add(Reshape(sample_shape(x), flat), x, name=f"{name}_flat")
            part = builder.add(Dense(weight, bias), x, name=f"{name}_fused")
            total = part if total is None else builder.add(Add(), total, part, name=f"{name}_sum")
            bias = np.zeros_like(bias)
        assert total is not None  # a segment without sources is never made a matrix
        shape = sample_shape(segment.target)
        if not vector and shape != (len(keep),):
            total = builder.add(Reshape((len(keep),), shape), total, name=f"{name}_shaped")
        return total

    def _columns(self, source: ir.Value) -> NDArray[np.intp]:
        """Flat elements of a source that the new graph still has, in order."""
        index = self.index.get(id(source))
        if index is None or not self.vectors[index]:
            return np.arange(size(source))
        return np.flatnonzero(self.alive[index])
