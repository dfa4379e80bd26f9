"""Random dense networks: every operator is read as ReLUs, and means what ONNX says."""

import numpy as np
import pytest

import graphprune as gp
from benchmarks.random_dense import BENDS, Writer
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64


@pytest.mark.parametrize("name", BENDS)
@pytest.mark.parametrize("seed", range(3))
def test_operators_are_read_as_relus(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    writer = Writer(rng)
    writer.affine(4 + seed)
    BENDS[name](writer, writer.last)
    writer.affine(3)
    model = writer.written()
    assert any(node.op_type == name for node in model.graph.node)
    network = gp.from_proto(model)
    assert network.piecewise_linear
    x = rng.uniform(-1, 1, (20, writer.inputs)).astype(np.float32)
    np.testing.assert_allclose(
        run_original(network, x), forward64(network, x)[0], rtol=1e-4, atol=1e-4
    )


def test_rows_tie_and_neurons_die() -> None:
    equal = dead = False
    for seed in range(30):
        weight, bias = Writer(np.random.default_rng(seed)).rows(7)
        equal |= len(np.unique(np.column_stack([weight, bias]), axis=0)) < 7
        dead |= bool(np.any(bias < -50))
    assert equal
    assert dead
