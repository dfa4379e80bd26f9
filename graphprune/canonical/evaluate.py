"""One node of constants, evaluated: by ONNX's reference implementation, or by ONNX Runtime.

The reference computes in float64 what the file has in float32. Where it has no code for an
operator at the file's opset, it mostly has some for a later one; where it has none at all, ONNX
Runtime computes in the file's own types.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]


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
    try:
        return _reference(node, opsets, feeds)
    except Exception as error:
        for version in _later(node, opsets):
            try:
                return _reference(node, {**opsets, node.domain: version}, feeds)
            except Exception:
                continue
        try:
            return _runtime(node, opsets, typed())
        except Exception:
            raise error from None


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
    import onnxruntime

    proto = onnx.shape_inference.infer_shapes(model_of_node(node, opsets, feeds))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(result) for result in session.run(None, dict(feeds))]
