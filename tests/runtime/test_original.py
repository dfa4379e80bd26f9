"""The file's own model in ONNX Runtime, whatever state its optimisation is in."""

import logging

import numpy as np
import onnx
import onnx.parser
import pytest

import graphprune as gp
from graphprune.runtime.original import run_original
from graphprune.runtime.session import Executable

# Some versions of ONNX Runtime drop the Cast and then miss its output.
CAST = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 2] x) => (float[N, 2] y)
      <float[2, 2] w = {1, -2, 3, 4}, float one = {1}, float k = {1}> {
        g = MatMul(x, w)
        mid = Cast<to = 1>(g)
        inverse = Div(one, k)
        h = Mul(mid, inverse)
        y = Relu(h)
    }
"""


def fails(proto: onnx.ModelProto) -> bool:
    try:
        Executable(proto)
    except Exception:
        return True
    return False


def test_a_file_that_optimisation_breaks_runs_without_it(caplog: pytest.LogCaptureFixture) -> None:
    proto = onnx.parser.parse_model(CAST)
    x = np.array([[1.0, 2.0], [-1.0, 0.5]], np.float32)
    with caplog.at_level(logging.WARNING, logger="graphprune"):
        found = run_original(gp.from_proto(proto), x)
    w = np.array([[1, -2], [3, 4]], np.float32)
    np.testing.assert_array_equal(found, np.maximum(x @ w, 0.0))
    assert ("with its optimisation off" in caplog.text) == fails(proto)
