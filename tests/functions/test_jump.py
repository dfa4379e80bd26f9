"""Networks whose values jump: bounds hold, attacks find points, distances are infima."""

import logging

import numpy as np
import pytest

import graphprune as gp
from graphprune.backends.verify import verify
from graphprune.bounds import Boxes, linear_bounds, pre_activation_bounds
from graphprune.region import Ball, Domain
from graphprune.runtime.reference import forward64
from graphprune.vnnlib import parse_property
from tests.canonical.models import model_of, node

OPS = ["Sign", "Floor", "Ceil", "Round", "ThresholdedRelu"]


def network_of(op: str) -> gp.Network:
    """Class 0 where op(4 x0 - 2) + op(4 x1 - 2) > 0.1; the other class else."""
    nodes = [
        node("Mul", "x four", "a"), node("Sub", "a two", "b"), node(op, "b", "c"),
        node("Gemm", "c w bias"),
    ]  # fmt: skip
    constants = {
        "four": np.array(4, np.float32), "two": np.array(2, np.float32), "w": np.array([[1, 0], [1, 0]], np.float32),
        "bias": np.array([0, 0.1], np.float32),
    }  # fmt: skip
    return gp.from_proto(model_of(nodes, ["n", 2], constants=constants))


@pytest.mark.parametrize("op", OPS)
def test_bounds_and_distances_of_networks_that_jump(
    op: str, caplog: pytest.LogCaptureFixture
) -> None:
    network = network_of(op)
    anchor = gp.Anchor(np.array([0.98, 0.9], np.float32), 0)
    axis = np.linspace(0, 1, 401)
    x = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    logits, *values = forward64(network, x)
    away = np.abs(x - anchor.x).max(axis=1)
    nearest = away[logits[:, 0] <= logits[:, 1]].min()
    with caplog.at_level(logging.WARNING, logger="graphprune"):
        result = gp.distance(network, anchor, time_limit=2)
    assert "jumps: a distance is an infimum" in caplog.text
    assert result.lower <= nearest
    assert result.upper is not None
    assert result.upper - result.lower <= 0.02
    assert abs(result.upper - nearest) <= 0.006
    ball = Ball(anchor.x.astype(np.float64), 0.3, Domain(0, 1))
    inside = away <= 0.3
    layers = pre_activation_bounds(network, Boxes.of(ball), "crown")
    assert np.all(values[0][inside] >= layers[0].lower[0])
    row = np.array([[1.0, -1.0]])
    bound = linear_bounds(network, Boxes.of(ball), layers, row)[0]
    assert np.all((logits @ row.T)[inside] >= bound)


@pytest.mark.parametrize("op", OPS)
def test_verdicts_of_networks_that_jump(op: str) -> None:
    network = network_of(op)
    box = "".join(
        f"(declare-const X_{i} Real)(assert (>= X_{i} {{}}))(assert (<= X_{i} 1.0))" for i in (0, 1)
    )
    declared = "(declare-const Y_0 Real)(declare-const Y_1 Real)(assert (<= Y_0 Y_1))"
    wide, narrow = (parse_property(box.format(low, low) + declared) for low in (0.2, 0.9))
    assert verify(network, wide, time_limit=20).answer == "sat"
    assert verify(network, narrow, time_limit=20).answer == "unsat"
