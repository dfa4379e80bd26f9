"""Results in one line without arrays, as a notebook shows them."""

import re

import numpy as np
import pytest

import graphprune as gp


def test_results_are_one_line(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    anchor = images[0]
    attack = gp.attack(tiny, anchor, effort="fast")
    proof = gp.certify(tiny, anchor, radius=0.001)
    pipeline = gp.Pipeline.parse("bounds{radius=0.01}, prune-stable")
    for value, pattern in (
        (anchor, rf"Anchor\({anchor.index}: class {anchor.label}, float32 \(1, 28, 28\)\)"),
        (attack, r"Attack\(0\.0\d+, class \d, \d+\.\d\d s\)"),
        (attack.witness, r"Witness\(0\.0\d+, class \d\)"),
        (proof, r"Certificate\(0\.001, crown, certified at 0\.001, \d+\.\d\d s\)"),
        (
            pipeline.run(tiny, anchor),
            r"PipelineResult\(bounds, prune-stable: \d+ living neurons, .*",
        ),
    ):
        said = repr(value)
        assert re.fullmatch(pattern, said), said
        assert len(said) < 100


@pytest.mark.parametrize(
    ("lower", "upper", "status", "said"),
    [
        (0.078335, 0.07834, "exact", "0.07834 exact, class 3, certified"),
        (0.05, 0.07834, "interval", "[0.05, 0.07834], class 3, certified"),
        (0.05, None, "interval", "[0.05, ?], certified"),
        (0.5, None, "robust", ">= 0.5 robust, certified"),
    ],
)
def test_a_distance_says_its_status(
    lower: float, upper: float | None, status: str, said: str
) -> None:
    from graphprune.attacks.confirm import Witness

    witness = None if upper is None else Witness(np.zeros(3), upper, 3)
    found = gp.Distance(lower, upper, status, witness, True, 7, 0.11)  # type: ignore[arg-type]
    assert repr(found) == f"Distance({said}, 0.11 s)"
