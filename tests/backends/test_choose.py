"""What every backend must survive: odd questions, limits, and a backend that fails."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.choose import SOLVERS, Solver
from graphprune.backends.scip import Scip
from graphprune.backends.search import Search
from tests.oracles import Perceptron

seeds = st.integers(0, 1000)
solvers = pytest.mark.parametrize("solver", SOLVERS)


def network_of(seed: int, widths: list[int]) -> tuple[Perceptron, gp.Network]:
    net = Perceptron.random(np.random.default_rng(seed), widths)
    return net, gp.from_proto(net.model())


def labelled(net: Perceptron, x: np.ndarray) -> gp.Anchor:
    return gp.Anchor(x.astype(np.float32), int(np.argmax(net.logits(x.astype(float)))))


@solvers
@settings(max_examples=5)
@given(seeds)
def test_two_equal_classes_have_distance_zero(solver: Solver, seed: int) -> None:
    net, _ = network_of(seed, [2, 4, 3])
    net.weights[-1][1], net.biases[-1][1] = net.weights[-1][0], net.biases[-1][0]
    net.biases[-1][:2] += 50.0
    network = gp.from_proto(net.model())
    result = gp.distance(network, gp.Anchor(np.full(2, 0.5, np.float32), 0), solver=solver)
    assert (result.status, result.lower, result.upper) == ("exact", 0.0, 0.0)


@solvers
@settings(max_examples=5)
@given(seeds)
def test_a_constant_network_is_robust_in_its_domain(solver: Solver, seed: int) -> None:
    net, _ = network_of(seed, [2, 4, 3])
    net.weights[-1][:] = 0.0
    anchor = labelled(net, np.array([0.3, 0.6]))
    network = gp.from_proto(net.model())
    assert gp.distance(network, anchor, solver=solver).status == "robust"
    result = gp.distance(network, anchor, solver=solver, domain=gp.Domain(-np.inf, np.inf))
    assert (result.status, result.upper) == ("interval", None)


@solvers
@settings(max_examples=4)
@given(seeds)
def test_domains_without_an_adversarial(solver: Solver, seed: int) -> None:
    net, _ = network_of(seed, [2, 4, 3])
    anchor = labelled(net, np.array([0.5, 0.5]))
    net.biases[-1][anchor.label] += 100.0
    result = gp.distance(gp.from_proto(net.model()), anchor, solver=solver)
    assert (result.status, result.upper) == ("robust", None)
    assert result.lower == pytest.approx(0.5)


@solvers
@settings(max_examples=4)
@given(seeds, st.sampled_from([0.0, 1e-9, 1e9]))
def test_any_time_limit_gives_an_interval(solver: Solver, seed: int, limit: float) -> None:
    net, network = network_of(seed, [3, 4, 3])
    result = gp.distance(network, labelled(net, np.full(3, 0.4)), solver=solver, time_limit=limit)
    assert result.lower >= 0.0
    assert result.upper is None or result.lower <= result.upper
    assert limit > 1 or result.status != "robust"


class Broken:
    """Fails after it has proven something."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def run(self, ledger: object, limits: object) -> None:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("killed"), MemoryError()])
@pytest.mark.parametrize("broken", [Scip, Search])
def test_the_other_backend_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception, broken: type
) -> None:
    monkeypatch.setattr(broken, "run", Broken(error).run)
    net, network = network_of(3, [3, 5, 3])
    anchor = labelled(net, np.full(3, 0.4))
    expected = gp.distance(network, anchor, solver="search" if broken is Scip else "scip")
    result = gp.distance(network, anchor, solver="auto")
    assert result.status == expected.status
    assert result.lower == pytest.approx(expected.lower, rel=2e-4, abs=2e-6)


def test_when_both_fail_attack_and_certificate_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in (Scip, Search):
        monkeypatch.setattr(backend, "run", Broken(RuntimeError("no luck")).run)
    net, network = network_of(3, [3, 5, 3])
    result = gp.distance(network, labelled(net, np.full(3, 0.4)), solver="auto")
    assert result.certified
    assert result.upper is None or 0.0 <= result.lower <= result.upper
