"""Properties of many regions: bounded in a batch, with the answers of one after another."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.verify import verify
from graphprune.backends.verify.regions import undecided
from graphprune.vnnlib import Property, parse_property
from tests.drawn import perceptrons
from tests.oracles import Perceptron

HEAD = """(declare-const X_0 Real) (declare-const X_1 Real)
(declare-const Y_0 Real) (declare-const Y_1 Real)
"""


def grid(steps: int, unsafe: str, width: float = 2.0) -> Property:
    """The square [-width, width]^2 in steps^2 boxes, each with the unsafe set."""
    ends = np.linspace(-width, width, steps + 1).tolist()
    cases = [
        f"(and (>= X_0 {a!r}) (<= X_0 {b!r}) (>= X_1 {c!r}) (<= X_1 {d!r}) {unsafe})"
        for (a, b), (c, d) in itertools.product(itertools.pairwise(ends), repeat=2)
    ]
    return parse_property(HEAD + f"(assert (or {' '.join(cases)}))")


@settings(max_examples=15)
@given(perceptrons([2, 4, 2]), st.floats(-2, 2))
def test_regions_left_out_hold_no_unsafe_point(net: Perceptron, limit: float) -> None:
    prop = grid(6, f"(or (>= Y_0 {limit!r}) (and (<= Y_1 {limit!r}) (<= Y_0 Y_1)))")
    left = undecided(gp.from_proto(net.model()), prop.regions)
    assert len(set(left)) == len(left)
    rng = np.random.default_rng(0)
    for k in set(range(36)) - set(left.tolist()):
        region = prop.regions[k]
        lower, upper = region.box.outward
        for x in rng.uniform(lower, upper, (5, 2)):
            y = net.logits(x)
            assert y[0] < limit + 1e-6
            assert y[1] > limit - 1e-6 or y[0] > y[1] - 1e-6


TENT = Perceptron(  # y_0 = 4 - |x_0| - |x_1|, y_1 = 0
    [np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), np.array([[-1.0] * 4, [0.0] * 4])],
    [np.zeros(4), np.array([4.0, 0.0])],
)


@pytest.mark.parametrize(("limit", "answer"), [(3.99, "sat"), (4.01, "unsat")])
def test_thousands_of_regions(limit: float, answer: str) -> None:
    """One box in the middle decides; the most promising comes first."""
    network = gp.from_proto(TENT.model())
    prop = grid(51, f"(>= Y_0 {limit})")
    verdict = verify(network, prop, time_limit=60.0)
    assert verdict.answer == answer
    if answer == "sat":
        assert len(undecided(network, prop.regions)) < 100
        assert verdict.nodes < 2700  # each once, and little more for those left


def test_relations_in_regions() -> None:
    network = gp.from_proto(TENT.model())
    assert verify(network, grid(5, "(>= (+ Y_0 X_0) 4.1)"), time_limit=60.0).answer == "unsat"
    assert verify(network, grid(5, "(>= (+ Y_0 X_0) 3.9)"), time_limit=60.0).answer == "sat"


def test_an_end_beyond_a_float32_is_inside_of_its_box() -> None:
    """0.5 - 2^-60 is nearest to 0.5 in float64 too, which is a float32."""
    near = "0.4999999999999999991326"
    cases = "".join(
        f"(and (>= X_0 {low}) (<= X_0 0.75) (>= X_1 0) (<= X_1 1) (<= Y_0 Y_1))"
        for low in (near, "0.25")
    )
    from graphprune.backends.verify.regions import _boxes

    prop = parse_property(HEAD + f"(assert (or {cases}))")
    boxes = _boxes(prop.regions)
    assert boxes.lower[0, 0] < 0.5
    assert boxes.lower[0, 0] == np.nextafter(np.float32(0.5), np.float32(0))
    assert (boxes.lower[1, 0], boxes.upper[1, 0]) == (0.25, 0.75)
