"""Mutations of ONNX files: what a damaged disk, a buggy exporter or an attacker would send."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Rng = np.random.Generator
Mutation = Callable[[onnx.ModelProto, Rng], None]

# Numbers that break arithmetic on sizes.
INTEGERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    1 << 16,
    10**6,
    (1 << 31) - 1,
    1 << 31,
    (1 << 62) + 1,
    -(1 << 63),
)
FLOATS = (0.0, -1.0, 1e-45, 1e38, float("inf"), float("nan"), 0.5)
OPERATORS = (
    "Relu", "Gemm", "MatMul", "Conv", "Add", "Sub", "Mul", "Div", "Flatten", "Reshape", "Transpose",
    "MaxPool", "AveragePool", "GlobalAveragePool", "BatchNormalization", "Concat", "Slice", "Split",
    "Gather", "Pad", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "Softmax", "Squeeze", "Unsqueeze",
    "ReduceSum", "ReduceMean", "Expand", "Tile", "Resize", "ConstantOfShape", "Range", "Shape",
    "Cast", "Loop", "If", "Max", "Min", "Abs", "Neg", "ConvTranspose", "DepthToSpace", "Identity",
    "Dropout", "NoSuchOperator",
)  # fmt: skip
ESCAPES = (
    "../secret.bin",
    "/etc/passwd",
    "a/../../secret.bin",
    "",
    ".",
    "secret.bin\0",
    "link.bin",
)


def mutate(data: bytes, rng: Rng, pool: Sequence[bytes] = ()) -> bytes:
    """A mutated file: one to three changes of its structure, or of its bytes.

    Parameters
    ----------
    data
        A valid ONNX file.
    rng
        Decides everything; the same state gives the same file.
    pool
        Other files, to splice pieces of.
    """
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.4 else 1):
            data = _bytes(data, rng, pool)
        return data
    model = onnx.load_model_from_string(data)
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.4 else 1):
        _pick(MUTATIONS, rng)(model, rng)
    try:
        return bytes(model.SerializeToString())
    except Exception:  # a string field that holds no text any more
        return _bytes(data, rng, pool)


def _pick(choices: Sequence[object], rng: Rng):  # type: ignore[no-untyped-def]
    return choices[int(rng.integers(len(choices)))]


def _bytes(data: bytes, rng: Rng, pool: Sequence[bytes]) -> bytes:
    array = bytearray(data)
    if not array:
        return bytes(rng.integers(0, 256, 16, dtype=np.uint8))
    # The structure lies at both ends, weights in between: aim at the structure.
    limit = len(array) if rng.random() < 0.5 else min(len(array), 600)
    start = int(rng.integers(limit))
    if rng.random() < 0.3:
        start = len(array) - 1 - int(rng.integers(min(len(array), 600)))
    stop = min(len(array), start + int(rng.integers(1, 33)))
    kind = int(rng.integers(6))
    if kind == 0:
        array[start] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        array[start:stop] = rng.integers(0, 256, stop - start, dtype=np.uint8).tobytes()
    elif kind == 2:
        del array[start:stop]
    elif kind == 3:
        array[start:start] = array[start:stop]
    elif kind == 4:
        del array[start:]
    else:
        other = _pick(pool, rng) if pool else data
        place = int(rng.integers(max(len(other), 1)))
        array[start:stop] = other[place : place + int(rng.integers(1, 200))]
    return bytes(array)


def _node(model: onnx.ModelProto, rng: Rng) -> onnx.NodeProto | None:
    return _pick(model.graph.node, rng) if model.graph.node else None


def _names(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    return [*names, *(t.name for t in graph.initializer), "", "nowhere"]


def attribute(model: onnx.ModelProto, rng: Rng) -> None:
    """Change, drop or add an attribute."""
    node = _node(model, rng)
    if node is None:
        return
    if not node.attribute or rng.random() < 0.15:
        name = _pick(("axis", "kernel_shape", "strides", "pads", "group", "ceil_mode", "perm"), rng)
        value = [int(_pick(INTEGERS, rng)) for _ in range(int(rng.integers(1, 5)))]
        single = name in ("axis", "group", "ceil_mode")
        node.attribute.append(helper.make_attribute(name, value[0] if single else value))
        return
    chosen = _pick(node.attribute, rng)
    if rng.random() < 0.15:
        node.attribute.remove(chosen)
    elif chosen.ints:
        chosen.ints[int(rng.integers(len(chosen.ints)))] = int(_pick(INTEGERS, rng))
    elif chosen.HasField("i"):
        chosen.i = int(_pick(INTEGERS, rng))
    elif chosen.HasField("f"):
        chosen.f = float(_pick(FLOATS, rng))
    else:
        chosen.name = str(_pick(("axis", "value", "to", "x"), rng))


def operator(model: onnx.ModelProto, rng: Rng) -> None:
    node = _node(model, rng)
    if node is not None:
        node.op_type = str(_pick(OPERATORS, rng))


def rewire(model: onnx.ModelProto, rng: Rng) -> None:
    """Another value as input or output: cycles, duplicates, dangling names."""
    node = _node(model, rng)
    if node is None:
        return
    names = node.output if node.output and rng.random() < 0.3 else node.input
    if names:
        names[int(rng.integers(len(names)))] = str(_pick(_names(model), rng))


def arity(model: onnx.ModelProto, rng: Rng) -> None:
    node = _node(model, rng)
    if node is None:
        return
    if node.input and rng.random() < 0.5:
        del node.input[int(rng.integers(len(node.input)))]
    else:
        node.input.append(str(_pick(_names(model), rng)))


def nodes(model: onnx.ModelProto, rng: Rng) -> None:
    """Delete, repeat or move a node."""
    if not model.graph.node:
        return
    index = int(rng.integers(len(model.graph.node)))
    node = onnx.NodeProto()
    node.CopyFrom(model.graph.node[index])
    kind = int(rng.integers(3))
    if kind != 1:
        del model.graph.node[index]
    if kind != 0:
        model.graph.node.insert(int(rng.integers(len(model.graph.node) + 1)), node)


def weights(model: onnx.ModelProto, rng: Rng) -> None:
    """Other dims, types or numbers in an initialiser."""
    if not model.graph.initializer:
        return
    tensor = _pick(model.graph.initializer, rng)
    kind = int(rng.integers(5))
    if kind == 0 and tensor.dims:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = int(_pick(INTEGERS, rng))
    elif kind == 1:
        tensor.data_type = int(rng.integers(0, 25))
    elif kind == 2:
        tensor.ClearField("raw_data")
    elif kind == 3:
        tensor.dims.append(int(_pick((1, 2, 0), rng)))
    else:
        try:
            array = numpy_helper.to_array(tensor).copy()
            if not array.size:
                return
            numbers = FLOATS if array.dtype.kind == "f" else INTEGERS[:8]
            array.reshape(-1)[int(rng.integers(array.size))] = _pick(numbers, rng)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        except Exception:  # an earlier mutation made it unreadable
            return


def signature(model: onnx.ModelProto, rng: Rng) -> None:
    """Shapes, types and names of inputs and outputs."""
    values = [*model.graph.input, *model.graph.output]
    if not values:
        return
    value = _pick(values, rng)
    tensor = value.type.tensor_type
    kind = int(rng.integers(5))
    if kind == 0 and tensor.shape.dim:
        _pick(tensor.shape.dim, rng).dim_value = int(_pick(INTEGERS, rng))
    elif kind == 1 and tensor.shape.dim:
        _pick(tensor.shape.dim, rng).dim_param = str(_pick(("n", "N", ""), rng))
    elif kind == 2:
        tensor.elem_type = int(rng.integers(0, 20))
    elif kind == 3:
        value.name = str(_pick(_names(model), rng))
    else:
        tensor.ClearField("shape")


def header(model: onnx.ModelProto, rng: Rng) -> None:
    kind = int(rng.integers(4))
    if kind == 0:
        model.ir_version = int(_pick((0, 1, 3, 7, 8, 10, 99), rng))
    elif kind == 1:
        domain = str(_pick(("ai.onnx.ml", "com.acme", "", "ai.onnx"), rng))
        model.opset_import.append(helper.make_opsetid(domain, 1))
    elif model.opset_import:
        model.opset_import[0].version = int(rng.integers(1, 30))


def external(model: onnx.ModelProto, rng: Rng) -> None:
    """Weights in another file, somewhere they should not be."""
    if not model.graph.initializer:
        return
    tensor = _pick(model.graph.initializer, rng)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(_pick(ESCAPES, rng)))
    if rng.random() < 0.5:
        tensor.external_data.add(key="offset", value=str(_pick(INTEGERS, rng)))
    if rng.random() < 0.5:
        tensor.external_data.add(key="length", value=str(_pick(INTEGERS, rng)))


def bomb(model: onnx.ModelProto, rng: Rng) -> None:
    """A few bytes that ask for gigabytes, feeding an input of a node."""
    node = _node(model, rng)
    if node is None or not node.input:
        return
    side = int(_pick((1 << 10, 1 << 16, 1 << 20, 1 << 31), rng))
    shape = helper.make_tensor("bomb_shape", TensorProto.INT64, [3], [side, side, 1])
    model.graph.initializer.append(shape)
    slot = int(rng.integers(len(node.input)))
    old = node.input[slot]
    made = {
        "ConstantOfShape": helper.make_node("ConstantOfShape", ["bomb_shape"], ["bomb"]),
        "Expand": helper.make_node("Expand", [old, "bomb_shape"], ["bomb"]),
        "Tile": helper.make_node("Tile", [old, "bomb_shape"], ["bomb"]),
    }
    model.graph.node.insert(0, made[str(_pick(tuple(made), rng))])
    node.input[slot] = "bomb"


def function(model: onnx.ModelProto, rng: Rng) -> None:
    """A node becomes a call of a local function, which may call itself."""
    node = _node(model, rng)
    if node is None:
        return
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    if rng.random() < 0.5:
        inner.op_type, inner.domain = "Self", "local"
    made = helper.make_function(
        "local", "Self", list(node.input), list(node.output), [inner], list(model.opset_import)
    )
    model.functions.append(made)
    model.opset_import.append(helper.make_opsetid("local", 1))
    node.op_type, node.domain = "Self", "local"
    del node.attribute[:]


def subgraph(model: onnx.ModelProto, rng: Rng) -> None:
    """A node in the branches of an If, nested."""
    node = _node(model, rng)
    if node is None or not node.output:
        return
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    out = [onnx.ValueInfoProto(name=name) for name in node.output]
    for _ in range(int(rng.integers(1, 20))):
        graph = helper.make_graph([inner], "branch", [], out)
        inner = helper.make_node(
            "If", ["cond"], list(node.output), then_branch=graph, else_branch=graph
        ) if len(graph.SerializeToString()) < 20_000 else inner  # fmt: skip
    node.CopyFrom(inner)
    model.graph.initializer.append(helper.make_tensor("cond", TensorProto.BOOL, [], [1]))


MUTATIONS: tuple[Mutation, ...] = (
    attribute, attribute, attribute, operator, operator, rewire, rewire, arity, nodes, weights,
    weights, signature, signature, header, external, bomb, function, subgraph,
)  # fmt: skip
