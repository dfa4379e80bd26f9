"""One node of constants, evaluated: by ONNX's reference implementation, or by ONNX Runtime.

The reference computes in float64 what the file has in float32, and ONNX Runtime in the file's own
types tells whether it is right. Where the reference has no code for an operator at the file's
opset, or a wrong one, it mostly has some for a later opset; where it has none at all, the runtime's
result is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]

# Last digits by which results of the runtime may differ from those in float64.
ROUNDING = 64


def model_of_node(node: onnx.NodeProto, opsets: Mapping[str, int], feeds: Feeds) -> onnx.ModelProto:
    """A model of one node whose inputs have the types and shapes of `feeds`."""
    proto = onnx.ModelProto(ir_version=8)
    for domain, version in opsets.items():
        proto.opset_import.add(domain=domain, version=version)
    proto.graph.name = "fold"
    proto.graph.node.append(node)
    for name, array in feeds.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
    for out in node.output:
        proto.graph.output.add(name=out)
    return proto


def evaluate(
    node: onnx.NodeProto, opsets: Mapping[str, int], feeds: Feeds, typed: Callable[[], Feeds]
) -> list[Array]:
    """Values of a node's outputs.

    The reference knows better digits, but not every operator of every opset: its Softmax before
    opset 13 is the later one, its BatchNormalization before 14 leaves out epsilon. So ONNX Runtime
    says which of its results is right, and where none is, has the last word.

    Parameters
    ----------
    feeds
        Its inputs, floats in float64 where that is finer.
    typed
        Makes the inputs in the file's own types, for a runtime that has no others.

    Raises
    ------
    Exception
        The words of the reference implementation, where nothing else knows the operator either.
    """
    if not feeds:  # a stored constant: nothing is computed
        return _reference(node, opsets, feeds)
    later = [{**opsets, node.domain: version} for version in _later(node, opsets)]
    try:
        single = {name: _of_single(array) for name, array in typed().items()}
        run = _runtime(node, opsets, single)
    except Exception:
        return _first(node, [opsets, *later], feeds)
    for versions in [*later[::-1], opsets]:
        with suppress(Exception):
            results = _reference(node, versions, feeds)
            if _agree(results, run, single):
                return results
    return run


def _first(
    node: onnx.NodeProto, candidates: Sequence[Mapping[str, int]], feeds: Feeds
) -> list[Array]:
    """The reference's result at the first of these opsets at which it has code for a node."""
    errors: list[Exception] = []
    for versions in candidates:
        try:
            return _reference(node, versions, feeds)
        except Exception as error:
            errors.append(error)
    raise errors[0]


def _of_single(array: Array) -> Array:
    """Halves in float32, for which there are kernels of every operator."""
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16") else array


def _agree(results: Sequence[Array], run: Sequence[Array], feeds: Feeds) -> bool:
    """True where results differ by no more than rounding in the file's types makes of them."""
    largest = max((_largest(array) for array in feeds.values()), default=0.0)
    return all(_close(a, b, largest) for a, b in zip(results, run, strict=True))


def _close(a: Array, b: Array, largest: float) -> bool:
    if a.shape != b.shape or "f" not in (a.dtype.kind, b.dtype.kind):
        return np.array_equal(a, b)
    scale = max(largest, _largest(b))
    digits = 2.0**-52 if b.dtype == np.float64 else 2.0**-23
    return np.allclose(a, b, rtol=0.0, atol=ROUNDING * digits * scale, equal_nan=True)


def _largest(array: Array) -> float:
    """The largest finite magnitude of floats."""
    if array.dtype.kind != "f":
        return 0.0
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max(initial=0.0))


def _reference(node: onnx.NodeProto, opsets: Mapping[str, int], feeds: Feeds) -> list[Array]:
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(model_of_node(node, opsets, feeds)).run(None, dict(feeds))
    return [np.asarray(result) for result in results]


def _later(node: onnx.NodeProto, opsets: Mapping[str, int]) -> list[int]:
    """Opsets above the file's in which the operator changed and still knows the node."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    here = opsets.get(domain, 0)
    if domain or not onnx.defs.has(node.op_type):
        return []
    found, newest = [], onnx.defs.onnx_opset_version()
    while newest > here:
        try:
            schema = onnx.defs.get_schema(node.op_type, newest)
        except Exception:
            break
        if schema.since_version <= here or schema.deprecated:
            break
        known = all(a.name in schema.attributes for a in node.attribute)
        if known and schema.min_input <= len(node.input) <= schema.max_input:
            found.append(schema.since_version)
        newest = schema.since_version - 1
    return found[::-1]


def _runtime(node: onnx.NodeProto, opsets: Mapping[str, int], feeds: Feeds) -> list[Array]:
    proto = onnx.shape_inference.infer_shapes(model_of_node(node, opsets, feeds))
    return [np.asarray(result) for result in opened(proto).run(None, dict(feeds))]


def opened(proto: onnx.ModelProto) -> Any:
    """A session of ONNX Runtime on the CPU, which complains of nothing."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
