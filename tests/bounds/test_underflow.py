"""Bounds where float32 runs out of small numbers, against exact rational arithmetic."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import graphprune as gp
from graphprune.bounds import (
    METHODS,
    Boxes,
    linear_bounds,
    pre_activation_bounds,
    using_engine,
)
from graphprune.region import Ball
from tests.canonical.models import model_of, node

ENGINES: tuple[Literal["compact", "graph"], ...] = ("compact", "graph")
FREE = gp.Domain(-np.inf, np.inf)
Exact = list[Fraction]


@dataclass(frozen=True)
class Chain:
    """Per segment the affine maps (weight, bias) in a row; a ReLU between segments."""

    segments: list[list[tuple[np.ndarray, np.ndarray]]]

    def model(self, kind: int = TensorProto.DOUBLE) -> onnx.ModelProto:
        nodes, last = [], "x"
        constants: dict[str, np.ndarray] = {}
        maps = [(i, k) for i, s in enumerate(self.segments) for k in range(len(s))]
        dtype = np.float64 if kind == TensorProto.DOUBLE else np.float32
        for i, k in maps:
            w, b = self.segments[i][k]
            name = f"{i}_{k}"
            constants |= {f"w{name}": w.astype(dtype), f"b{name}": b.astype(dtype)}
            final = (i, k) == maps[-1]
            out = "y" if final else f"z{name}"
            nodes.append(node("Gemm", f"{last} w{name} b{name}", out, transB=1))
            last = out
            if k + 1 == len(self.segments[i]) and not final:
                nodes.append(node("Relu", last, f"h{name}"))
                last = f"h{name}"
        inputs = self.segments[0][0][0].shape[1]
        return model_of(nodes, ["n", inputs], constants=constants, kind=kind)

    def values(self, x: np.ndarray) -> list[Exact]:
        """Pre-activations and logits without any rounding."""
        h = [Fraction(float(v)) for v in x]
        found = []
        for segment in self.segments:
            for weight, bias in segment:
                h = [
                    sum((Fraction(float(w)) * v for w, v in zip(row, h, strict=True) if w),
                        Fraction(float(b)))
                    for row, b in zip(weight, bias, strict=True)
                ]  # fmt: skip
            found.append(h)
            h = [max(v, Fraction(0)) for v in h]
        return found


def assert_holds(chain: Chain, ball: Ball, rows: np.ndarray, kind: int = TensorProto.DOUBLE) -> int:
    """Every method's bounds hold at corners of the ball; how many were not refused."""
    network = gp.from_proto(chain.model(kind))
    boxes = Boxes.of(ball)
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 2, (8, len(ball.center))).astype(bool)
    values = [chain.values(np.where(c, ball.lower, ball.upper)) for c in corners]
    given = 0
    for method in METHODS:
        try:
            layers = pre_activation_bounds(network, boxes, method, every=True)
            margins = linear_bounds(network, boxes, layers, rows, method)[0]
        except gp.GraphpruneError:  # too large a number somewhere: no bound is a sound answer
            continue
        given += 1
        for *zs, logits in values:
            for layer, z in zip(layers, zs, strict=True):
                for i, v in enumerate(z):
                    assert Fraction(float(layer.lower[0, i])) <= v, (method, i)
                    assert v <= Fraction(float(layer.upper[0, i])), (method, i)
            for row, margin in zip(rows, margins, strict=True):
                exact = sum(Fraction(float(a)) * v for a, v in zip(row, logits, strict=True))
                assert Fraction(float(margin)) <= exact, method
    return given


def one(*numbers: float) -> np.ndarray:
    return np.array([numbers])


ZERO = np.zeros(1)
UNIT_BALL = Ball(np.array([0.55]), 0.05, FREE)
BOTH = np.array([[1.0], [-1.0]])


@pytest.mark.usefixtures("engine")
def test_a_weight_below_float32_times_a_large_value() -> None:
    chain = Chain([[(one(1e30), ZERO)], [(one(1e-46), ZERO)], [(one(1.0), ZERO)]])
    assert assert_holds(chain, UNIT_BALL, BOTH) == len(METHODS)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("tiny", [1e-200, 5e-324])
def test_weights_whose_product_is_below_float64_make_no_constant(tiny: float) -> None:
    """0 < z, though every float64 product of the weights on its way is 0.

    Three numbers into one and back to three: that stays two maps.
    """
    zeros, ones = np.zeros(3), np.ones((1, 3))
    thin = [(tiny * ones, ZERO), (tiny * ones.T, zeros)]
    chain = Chain([[(np.eye(3), zeros)], thin, [(ones, ZERO)]])
    # The compact engine refuses to materialise such rows; what it gives has to hold.
    assert assert_holds(chain, Ball(np.full(3, 0.55), 0.05, FREE), BOTH) > 0


@pytest.mark.usefixtures("engine")
def test_a_product_below_float32_is_made_large_again() -> None:
    """All weights are float32 numbers; the segment's intermediate value is a denormal."""
    small, large = float(np.float32(3e-44)), float(np.float32(1e38))
    inside = Chain([[(one(small), ZERO), (one(large), ZERO)], [(one(1.0), ZERO)]])
    assert assert_holds(inside, UNIT_BALL, BOTH, TensorProto.FLOAT) == len(METHODS)


@pytest.mark.usefixtures("engine")
def test_a_row_below_float32_meets_a_large_value() -> None:
    large, small = float(np.float32(1e30)), float(np.float32(1e-23))
    chain = Chain([[(one(large), ZERO)], [(one(small), ZERO)], [(one(small), ZERO)]])
    assert assert_holds(chain, UNIT_BALL, BOTH, TensorProto.FLOAT) == len(METHODS)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "scales", [(1e-320, 1e90), (1e-160, 1e-160), (1e-200, 1e250), (1e90, 1e-320)]
)
@pytest.mark.parametrize("together", [True, False])
def test_weights_beyond_float64_give_no_number_that_is_wrong(
    scales: tuple[float, float], together: bool
) -> None:
    """In one segment or two: the bounds hold, or there are none."""
    maps = [(one(scale), ZERO) for scale in scales]
    chain = Chain([maps] if together else [[m] for m in maps])
    assert_holds(Chain([*chain.segments, [(one(1.0), ZERO)]]), UNIT_BALL, BOTH)


def test_a_neuron_that_is_constantly_zero_is_stable() -> None:
    """What stands in for lost underflows does not make pruned neurons unstable."""
    chain = Chain([[(np.array([[0.0], [1.0]]), np.zeros(2))], [(one(1.0, 1.0), ZERO)]])
    for name in ENGINES:
        with using_engine(name):
            network = gp.from_proto(chain.model())
            layers = pre_activation_bounds(network, Boxes.of(UNIT_BALL))
        assert not layers[0].unstable.any(), name


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("seed", range(12))
def test_no_bound_is_violated_at_any_scale(seed: int) -> None:
    """Weights from denormals to 1e30, cancelling in pairs, several maps per segment."""
    rng = np.random.default_rng(seed)
    given = 0
    for _ in range(4):
        segments, width = [], 3
        scale = 0.0
        for count in (*rng.integers(1, 3, 2), 1):
            maps = []
            for _ in range(count):
                # Keep the product of scales within what float32 holds: overflow is refused.
                power = float(rng.uniform(max(-46.0, -42.0 - scale), min(30.0, 30.0 - scale)))
                scale += power
                height = int(rng.integers(1, 4))
                weight = rng.normal(size=(height, width)) * 10.0**power
                weight[:, 1::2] = -weight[:, : width // 2 * 2 : 2] * (1 + 1e-7 * rng.normal())
                weight[rng.random(weight.shape) < 0.2] *= 1e-8
                maps.append((weight, rng.normal(size=height) * 10.0**scale))
                width = height
            segments.append(maps)
        ball = Ball(rng.uniform(0.2, 0.8, 3), float(rng.choice([0.0, 1e-7, 0.1])), FREE)
        rows = np.concatenate([np.eye(width), rng.normal(size=(2, width)) * 1e-20])
        given += assert_holds(Chain(segments), ball, rows)
    assert given > 0
