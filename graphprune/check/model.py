"""The model file as a sequence of affine maps and ReLUs, read without any of graphprune.

Supported are the operators of `rules/`, inputs of one type and one output, the batch as first axis;
anything else is refused by name. Several inputs are one point, one after the other. The model is
taken as the real-valued function of the file's numbers; a softmax over the classes at its end,
which keeps their order, is left out.
"""

from pathlib import Path

import onnx

from graphprune.check import rules as _rules  # noqa: F401  fills the registry
from graphprune.check.reader import ModelReader, refuse_external
from graphprune.check.steps import Model
from graphprune.errors import ModelError, UnsupportedError


def read_model(path: str | Path) -> Model:
    """Read a model file.

    Raises
    ------
    ModelError
        Missing or unreadable file.
    UnsupportedError
        Weights outside the file, or something else outside the checker's subset.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read: {error.strerror}") from None
    return parse_model(data, str(path))


def parse_model(data: bytes, label: str = "model") -> Model:
    """A model from its bytes; `label` names it in messages."""
    try:
        proto = onnx.load_model_from_string(data)
        for tensor in proto.graph.initializer:
            refuse_external(tensor, label, tensor.name)
        shaped = all(v.type.tensor_type.HasField("shape") for v in proto.graph.output)
        onnx.checker.check_model(proto if shaped else onnx.shape_inference.infer_shapes(proto))
    except UnsupportedError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{label}: not a valid ONNX model: {reason}") from None
    return ModelReader(proto, label).model(data)
