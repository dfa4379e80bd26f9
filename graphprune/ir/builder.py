"""Writing ONNX graphs: the one way every canonicalisation, transform and rewrite makes nodes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import DTypeLike, NDArray

# Old enough for every consumer people have, new enough for Squeeze/Reduce axes as inputs.
OPSET = 17
IR_VERSION = 8

Attribute = int | float | str | Sequence[int] | Sequence[float]


class GraphBuilder:
    """Collects nodes into an ONNX graph of one floating type.

    Parameters
    ----------
    dtype
        float32 (ONNX Runtime) or float64 (canonical graphs, reference runs); every floating
        constant is cast to it.
    """

    def __init__(self, dtype: DTypeLike = np.float64) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.inputs: list[ir.Value] = []
        self.outputs: list[ir.Value] = []
        self.nodes: list[ir.Node] = []
        self.opset = OPSET
        self._names: set[str] = set()
        # The array is kept beside its value: a freed array's id could be given out again.
        self._constants: dict[
            tuple[int, tuple[int, ...]], tuple[NDArray[np.generic], ir.Value]
        ] = {}

    @property
    def float_type(self) -> ir.DataType:
        return ir.DataType.from_numpy(self.dtype)

    def fresh(self, hint: str) -> str:
        """A name not used before in this graph, `hint` itself where it is free."""
        name, count = hint, 0
        while name in self._names:
            count += 1
            name = f"{hint}_{count}"
        self._names.add(name)
        return name

    def renamed(self, name: str, hint: str) -> str:
        """A name in the place of one that is given up."""
        self._names.discard(name)
        return self.fresh(hint)

    def input(
        self, name: str, shape: Sequence[int | str], dtype: ir.DataType | None = None
    ) -> ir.Value:
        """An input of the graph's floating type unless `dtype` says another."""
        value = ir.Value(
            name=self.fresh(name), type=ir.TensorType(dtype or self.float_type),
            shape=ir.Shape(shape),
        )  # fmt: skip
        self.inputs.append(value)
        return value

    def constant(self, array: NDArray[np.generic], hint: str = "const") -> ir.Value:
        """An initialiser; the same array object (and shape) gives the same initialiser."""
        key = (id(array), array.shape)
        if key in self._constants:
            return self._constants[key][1]
        cast = array.astype(self.dtype) if array.dtype.kind == "f" else array
        name = self.fresh(hint)
        # `ir.tensor` finds out what it is given: ten times as long, for every scalar of a graph.
        tensor = ir.Tensor(np.ascontiguousarray(cast).reshape(cast.shape), name=name)
        value = ir.Value(
            name=name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(cast.shape),
            const_value=tensor,
        )
        self._constants[key] = (array, value)
        return value

    def scalar(self, number: float) -> ir.Value:
        return self.constant(np.array(number, dtype=np.float64), "scalar")

    def ints(self, numbers: Sequence[int]) -> ir.Value:
        return self.constant(np.array(numbers, dtype=np.int64), "ints")

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        name: str | None = None,
        shape: Sequence[int | str] | None = None,
    ) -> ir.Value:
        """Add one node with one output and return that output."""
        label = self.fresh(name or op_type)
        node = ir.node(op_type, inputs, attributes=attributes or {}, name=label)
        out = node.outputs[0]
        out.name = label
        if shape is not None:
            out.type, out.shape = ir.TensorType(self.float_type), ir.Shape(shape)
        self.nodes.append(node)
        return out

    def top(self, values: ir.Value, count: int) -> tuple[ir.Value, ir.Value]:
        """The `count` largest of each row (N, count), in falling order, and where they are."""
        node = ir.node("TopK", [values, self.ints([count])], {"axis": 1}, num_outputs=2)
        for value in node.outputs:
            value.name = self.fresh("TopK")
        self.nodes.append(node)
        return node.outputs[0], node.outputs[1]

    def require(self, opset: int) -> None:
        """Write the graph in this opset at least."""
        self.opset = max(self.opset, opset)

    def drop_constants(self, keep: set[int]) -> None:
        """Forget the initialisers whose value's id is not in `keep`."""
        self._constants = {k: c for k, c in self._constants.items() if id(c[1]) in keep}

    def output(self, value: ir.Value, name: str) -> None:
        """Make `value` an output called `name` (through Identity: names never clash)."""
        out = self.op("Identity", [value], name=name)
        out.type = ir.TensorType(self.float_type)
        self.outputs.append(out)

    def loop(
        self,
        trips: ir.Value,
        state: Sequence[tuple[ir.Value, Sequence[int | str]]],
        body: Callable[
            ["GraphBuilder", ir.Value, Sequence[ir.Value]],
            tuple[ir.Value | None, Sequence[ir.Value]],
        ],
    ) -> Sequence[ir.Value]:
        """Add a Loop and return the state at its end.

        Parameters
        ----------
        trips
            Number of trips at most: a scalar of int64.
        state
            Values carried from trip to trip: floating tensors with their shapes.
        body
            Writes one trip with the builder it is given: the number of the trip (from 0) and the
            state before it to a condition for another trip (None: always) and the state after it.
            It may read this graph's values.
        """
        inner = GraphBuilder(self.dtype)
        inner._names = self._names
        trip = inner.input("trip", [], ir.DataType.INT64)
        going = inner.input("going", [], ir.DataType.BOOL)
        carried = [inner.input("state", shape) for _, shape in state]
        condition, after = body(inner, trip, carried)
        for value, kind in (
            (condition or going, ir.DataType.BOOL), *((a, self.float_type) for a in after),
        ):  # fmt: skip
            out = inner.op("Identity", [value])
            out.type = ir.TensorType(kind)
            inner.outputs.append(out)
        self.require(inner.opset)
        attribute = ir.AttrGraph("body", inner._graph("body"))
        label = self.fresh("Loop")
        inputs = [trips, None, *(value for value, _ in state)]
        node = ir.Node("", "Loop", inputs, [attribute], num_outputs=len(state), name=label)
        for value in node.outputs:
            value.name = self.fresh("after")
        self.nodes.append(node)
        return node.outputs

    def _graph(self, name: str) -> ir.Graph:
        return ir.Graph(
            self.inputs,
            self.outputs,
            nodes=self.nodes,
            initializers=[value for _, value in self._constants.values()],
            opset_imports={"": self.opset},
            name=name,
        )

    def build(self, name: str) -> ir.Model:
        graph = self._graph(name)
        return ir.Model(
            graph, ir_version=IR_VERSION if self.opset < 19 else 9, producer_name="graphprune"
        )
