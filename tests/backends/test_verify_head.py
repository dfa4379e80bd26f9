"""Thresholds above increasing functions: the same answers as thresholds on the scores."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from graphprune.backends.verify import verify
from graphprune.backends.verify.head import below_head
from graphprune.canonical import load
from graphprune.ir.source import HeadOperator
from graphprune.vnnlib import Constraint, Disjunct, RationalBox, read_property

BOX = RationalBox((Fraction(0),), (Fraction(1),))
SIGMOID = (HeadOperator("Sigmoid", {}),)
HEADS: dict[str, tuple[tuple[HeadOperator, ...], Callable[[float], float]]] = {
    "sigmoid": (SIGMOID, expit),
    "tanh": ((HeadOperator("Tanh", {}),), np.tanh),
    "minus the softplus of minus z": (
        (HeadOperator("Neg", {}), HeadOperator("Softplus", {}), HeadOperator("Neg", {})),
        lambda z: -np.logaddexp(0.0, -z),
    ),
    "3 - 2 tanh, negative": (
        (HeadOperator("Tanh", {}), HeadOperator("Mul", {}, (None, np.array(2.0))),
         HeadOperator("Sub", {}, (np.array(3.0), None)), HeadOperator("Neg", {})),
        lambda z: -(3.0 - 2.0 * np.tanh(z)),
    ),
}  # fmt: skip


@given(
    st.sampled_from(sorted(HEADS)), st.floats(-6, 6), st.floats(-6, 6),
    st.sampled_from([-2, -1, 1, 3]),
)  # fmt: skip
def test_outward_holds_and_inward_is_held(name: str, at: float, z: float, sign: int) -> None:
    """A point with the constraint has the outward one; one with the inward has the constraint."""
    head, value = HEADS[name]
    limit = Fraction(float(value(at))) * sign
    region = Disjunct(BOX, ((Constraint(((0, Fraction(sign)),), limit),),))
    outward = below_head(region, head, outward=True)
    inward = below_head(region, head, outward=False)
    assert outward is not None
    assert inward is not None
    scores = np.array([z])
    if abs(z - at) > 1e-6:  # further than the floats of this test are off
        holds = region.violated_by(np.array([float(value(z))]))
        assert outward.violated_by(scores) == inward.violated_by(scores) == holds
    assert outward.violated_by(np.array([at]))


def test_values_that_are_never_taken() -> None:
    never = Disjunct(BOX, ((Constraint(((0, Fraction(-1)),), Fraction(-2)),),))  # y >= 2
    always = Disjunct(BOX, ((Constraint(((0, Fraction(1)),), Fraction(2)),),))  # y <= 2
    both = Disjunct(BOX, ((Constraint(((0, Fraction(1)), (1, Fraction(1))), Fraction(2)),),))
    for outward in (True, False):
        moved = below_head(never, SIGMOID, outward=outward)
        assert moved is not None
        assert moved.polytopes == ()
        moved = below_head(always, SIGMOID, outward=outward)
        assert moved is not None
        assert moved.polytopes == ((),)
        assert below_head(both, SIGMOID, outward=outward) is None


@pytest.mark.parametrize("name", ["sig_u0.003", "sig_u0.01", "sig_u0.03", "sig_unsat"])
def test_a_sigmoid_answers_as_its_logit(truth: Path, name: str) -> None:
    folder = truth / "field" / "final-sigmoid-verify"
    network = load(folder / "bin_sig.onnx")
    assert network.piecewise_linear
    verdict = verify(network, read_property(folder / f"{name}.vnnlib"), time_limit=600.0)
    assert verdict.answer in ("sat", "unsat")
