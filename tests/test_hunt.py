"""The hunt of the benchmarks sees what it is meant to see, and its programs are right."""

import itertools

import numpy as np
import pytest

import graphprune as gp
from benchmarks import hunt
from benchmarks.milp import Program
from graphprune.bounds.certify import Certificate
from tests.oracles import Perceptron, brute_force_distance


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_programs_find_the_nearest_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [2, 3, 3, 3])
    x = rng.uniform(0.2, 0.8, 2)
    label = int(net.logits(x).argmax())
    program = Program.of(gp.from_proto(net.model()), np.zeros(2), np.ones(2))
    points = [program.nearest(x, label, t) for t in range(3) if t != label]
    found = min((float(np.abs(p - x).max()) for p in points if p is not None), default=np.inf)
    expected = brute_force_distance(net, x, label, 0.0, 1.0)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_programs_find_the_most_slack() -> None:
    """The largest of a score over a box, against a grid of regions' corners and samples."""
    net = Perceptron.random(np.random.default_rng(7), [2, 4, 2])
    program = Program.of(gp.from_proto(net.model()), np.zeros(2), np.ones(2))
    point = program.most_slack(np.eye(2)[[1]], np.zeros(1), 2)
    assert point is not None
    grid = itertools.product(np.linspace(0, 1, 41), repeat=2)
    best = max(float(net.logits(np.array(g))[1]) for g in grid)
    assert net.logits(point)[1] >= best - 1e-6


@pytest.mark.slow
def test_a_network_is_replayed_and_a_certificate_too_large_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hunt, "BLOCK", 6)
    drawn, again = hunt.block(0, 0), hunt.block(0, 0)
    assert [m.SerializeToString() for m in drawn] == [m.SerializeToString() for m in again]
    number = 3
    checks, found = hunt.hunt(number, 0, drawn[number])
    assert not found
    assert checks["certify"] == 1

    def too_large(*_: object, **__: object) -> Certificate:
        return Certificate(1e9, False, "crown", 0.0)

    monkeypatch.setattr(gp, "certify", too_large)
    replayed, found = hunt.hunt(number, 0, drawn[number])
    assert replayed == checks
    assert [said.split(" >")[0] for said in found] == ["certify: 1000000000.0"]
