"""Bounds of what is never negative."""

import numpy as np
import pytest

import graphprune as gp
from graphprune.bounds import Boxes, pre_activation_bounds, using_engine
from graphprune.bounds.protocol import EngineName
from graphprune.runtime.reference import forward64
from tests.canonical.models import model_of, node

RNG = np.random.default_rng(0)
WEIGHTS = {"w": RNG.normal(size=(3, 4)).astype(np.float32), "axes": np.array([1])}
# Squares cancel in the last one: its argument may be negative.
BELOW = [node("MatMul", "x w", "z"), node("Mul", "z z", "s")]
ROOTS = {
    "squares": [*BELOW, node("Sqrt", "s", "r"), node("Sub", "r z")],
    "length": [*BELOW, node("ReduceSum", "s axes", "t"), node("Sqrt", "t", "r"), node("Sub", "z r")],
    "not": [*BELOW, node("Gather", "s i", "t", axis=1), node("Sub", "s t", "d"), node("Sqrt", "d", "r"), node("Add", "r z")],
}  # fmt: skip


@pytest.mark.parametrize("engine", ["compact", "graph"])
def test_roots_of_squares_are_defined_on_every_ball(engine: EngineName) -> None:
    """The certified radius ended where the first square could be 0."""
    for name in ("squares", "length"):
        network = gp.from_proto(model_of(ROOTS[name], ["n", 3], constants=WEIGHTS))
        boxes = Boxes(np.full((1, 3), -1.0, np.float32), np.full((1, 3), 1.0, np.float32))
        with using_engine(engine):
            layer = pre_activation_bounds(network, boxes)[1]
        assert np.all(layer.lower == 0.0)
        x = RNG.uniform(-1.0, 1.0, (200, 3))
        x[:50] = 0.0
        assert np.all(forward64(network, x)[2] <= layer.upper)


def test_what_may_be_negative_is_still_refused() -> None:
    constants = {**WEIGHTS, "i": np.array([1, 2, 3, 0])}
    network = gp.from_proto(model_of(ROOTS["not"], ["n", 3], constants=constants))
    boxes = Boxes(np.full((1, 3), -1.0, np.float32), np.full((1, 3), 1.0, np.float32))
    with pytest.raises(gp.GraphpruneError, match="not defined on all of"):
        pre_activation_bounds(network, boxes)
