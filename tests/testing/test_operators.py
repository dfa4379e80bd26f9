"""Models of many operators: the canonical form equals the file, bounds enclose its values."""

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.ir.network import operator
from graphprune.region import Ball
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.testing import assert_encloses, many_operator_models
from tests.conftest import Floor, random_points


@settings(max_examples=25)
@given(model=st.booleans().flatmap(lambda smooth: many_operator_models(smooth=smooth)))
def test_canonical_form_and_bounds(floor: Floor, model: onnx.ModelProto) -> None:
    network = gp.from_proto(model)
    floor.met((type(operator(node)) for node in network.nodes), least=10)
    x = random_points(network, low=-1.0, high=1.0)[: network.source.batch_size]
    expected = run_original(network, x)
    room = 1e-5 * max(1.0, float(np.max(np.abs(expected))))
    assert np.max(np.abs(forward64(network, x)[0] - expected)) <= room
    ball = Ball(x[0].astype(np.float64), 0.2, gp.Domain(-np.inf, np.inf))
    layers = pre_activation_bounds(network, Boxes.of(ball), "crown")
    assert_encloses(network, layers, ball)
