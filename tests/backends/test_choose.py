"""What every backend must survive: odd questions, limits, and a backend that fails."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.choose import solvers
from graphprune.backends.scip import Scip
from graphprune.backends.search import Search
from graphprune.errors import AnchorError, GraphpruneError
from tests.conftest import Floor
from tests.drawn import perceptrons
from tests.oracles import Perceptron, brute_force_distance

each_solver = pytest.mark.parametrize("solver", solvers())


def network_of(seed: int, widths: list[int]) -> tuple[Perceptron, gp.Network]:
    net = Perceptron.random(np.random.default_rng(seed), widths)
    return net, gp.from_proto(net.model())


def labelled(net: Perceptron, x: np.ndarray) -> gp.Anchor:
    return gp.Anchor(x.astype(np.float32), int(np.argmax(net.logits(x.astype(float)))))


@each_solver
@settings(max_examples=5)
@given(perceptrons([2, 4, 3]))
def test_two_equal_classes_have_distance_zero(solver: str, net: Perceptron) -> None:
    net.weights[-1][1], net.biases[-1][1] = net.weights[-1][0], net.biases[-1][0]
    net.biases[-1][:2] += 50.0
    network = gp.from_proto(net.model())
    result = gp.distance(network, gp.Anchor(np.full(2, 0.5, np.float32), 0), solver=solver)
    assert (result.status, result.lower, result.upper) == ("exact", 0.0, 0.0)


@each_solver
@settings(max_examples=5)
@given(perceptrons([2, 4, 3]))
def test_a_constant_network_is_robust_in_its_domain(solver: str, net: Perceptron) -> None:
    net.weights[-1][:] = 0.0
    net.biases[-1][:] += [2.0, 0.0, -2.0]  # no ties
    anchor = labelled(net, np.array([0.3, 0.6]))
    network = gp.from_proto(net.model())
    assert gp.distance(network, anchor, solver=solver).status == "robust"
    result = gp.distance(network, anchor, solver=solver, domain=gp.Domain(-np.inf, np.inf))
    assert (result.status, result.upper) == ("interval", None)


@each_solver
@settings(max_examples=4)
@given(perceptrons([2, 4, 3]))
def test_domains_without_an_adversarial(solver: str, net: Perceptron) -> None:
    anchor = labelled(net, np.array([0.5, 0.5]))
    net.biases[-1][anchor.label] += 100.0
    result = gp.distance(gp.from_proto(net.model()), anchor, solver=solver)
    assert (result.status, result.upper) == ("robust", None)
    assert result.lower == pytest.approx(0.5)


def halves(offset: float = 0.0) -> gp.Network:
    """Two classes, divided where x0 + x1 = 1, through one layer of ReLUs."""
    weights = [np.eye(2), np.array([[1.0, 1.0], [-1.0, -1.0]])]
    biases = [np.zeros(2), np.array([offset, 2.0])]
    return gp.from_proto(Perceptron(weights, biases).model())


@each_solver
@pytest.mark.parametrize("x", [(0.5, 0.5), (0.25, 0.75), (0.0, 1.0)])
def test_an_anchor_on_the_boundary_has_distance_zero(solver: str, x: tuple[float, float]) -> None:
    point = np.array(x, np.float32)
    for label in (0, 1):  # a tie: neither label is wrong, and the margin to the other is 0
        result = gp.distance(halves(), gp.Anchor(point, label), solver=solver)
        assert (result.status, result.lower, result.upper) == ("exact", 0.0, 0.0)
        assert result.certified


@each_solver
@pytest.mark.parametrize("step", [2.0**-20, 2.0**-12, 2.0**-4])
def test_an_anchor_beside_the_boundary(solver: str, step: float) -> None:
    x = np.array([0.5 + 2 * step, 0.5], np.float32)
    result = gp.distance(halves(), gp.Anchor(x, 0), solver=solver)
    assert result.status == "exact"
    assert result.upper is not None
    assert result.lower <= step * (1 + 1e-6) + 1e-9
    assert result.upper >= step
    assert result.upper == pytest.approx(step, rel=1e-4, abs=1e-6)


@each_solver
@settings(max_examples=12)
@given(perceptrons([2, 4, 4]))
def test_targets_that_are_never_reached_cost_nothing(
    floor: Floor, solver: str, net: Perceptron
) -> None:
    anchor = labelled(net, np.array([0.4, 0.6]))
    for hopeless in {3, 2} - {anchor.label}:
        net.weights[-1][hopeless], net.biases[-1][hopeless] = 0.0, -1e6
    expected = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    result = gp.distance(gp.from_proto(net.model()), anchor, solver=solver)
    floor.checked(expected < 1, least=1)
    if expected < 1:
        assert result.status == "exact"
        assert result.upper == pytest.approx(expected, rel=2e-4, abs=2e-6)
    else:
        assert (result.status, result.upper) == ("robust", None)


@each_solver
def test_questions_that_make_no_sense_are_refused(solver: str) -> None:
    network, x = halves(), np.array([0.75, 0.5], np.float32)
    ask = partial(gp.distance, network, solver=solver)
    with pytest.raises(AnchorError, match=r"outside the domain \[0, 0.6\]"):
        ask(gp.Anchor(x, 0), domain=gp.Domain(0.0, 0.6))
    with pytest.raises(AnchorError, match="label 2 is out of range"):
        ask(gp.Anchor(x, 2))
    with pytest.raises(AnchorError, match="NaN"):
        ask(gp.Anchor(np.array([0.5, np.nan], np.float32), 0))
    with pytest.raises(AnchorError, match=r"shape \(1, 2\)"):
        ask(gp.Anchor(x[None], 0))
    for limit in (-1.0, np.nan):
        with pytest.raises(GraphpruneError, match="time_limit"):
            ask(gp.Anchor(x, 0), time_limit=limit)
    with pytest.raises(GraphpruneError, match="radius"):
        ask(gp.Anchor(x, 0), radius=-1.0)
    for question in (gp.attack, gp.certify):
        with pytest.raises(AnchorError, match="outside the domain"):
            question(network, gp.Anchor(x, 0), domain=gp.Domain(0.0, 0.6))
    with pytest.raises(GraphpruneError, match="did you mean 'scip'"):
        gp.distance(network, gp.Anchor(x, 0), solver="scib")


@each_solver
def test_a_domain_that_begins_at_the_anchor(solver: str) -> None:
    x = np.array([0.5, 0.75], np.float32)
    # The boundary lies below; nothing is there.
    result = gp.distance(halves(), gp.Anchor(x, 0), solver=solver, domain=gp.Domain(0.5, 1.0))
    assert result.upper == pytest.approx(0.25, rel=1e-4), "its corner (0.5, 0.5) is on the boundary"
    result = gp.distance(halves(1e-3), gp.Anchor(x, 0), solver=solver, domain=gp.Domain(0.5, 1.0))
    assert (result.status, result.upper) == ("robust", None)


@each_solver
@settings(max_examples=4)
@given(perceptrons([3, 4, 3]), st.sampled_from([0.0, 1e-9, 1e9]))
def test_any_time_limit_gives_an_interval(solver: str, net: Perceptron, limit: float) -> None:
    network = gp.from_proto(net.model())
    result = gp.distance(network, labelled(net, np.full(3, 0.4)), solver=solver, time_limit=limit)
    assert result.lower >= 0.0
    assert result.upper is None or result.lower <= result.upper
    assert limit > 1 or result.status != "robust"


class Broken:
    """Fails after it has proven something."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def run(self, interval: object, resources: object) -> None:
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


def test_when_both_fail_attack_and_certificate_are_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for backend in (Scip, Search):
        monkeypatch.setattr(backend, "run", Broken(RuntimeError("no luck")).run)
    net, network = network_of(3, [3, 5, 3])
    for solver in solvers():
        caplog.clear()
        result = gp.distance(network, labelled(net, np.full(3, 0.4)), solver=solver)
        assert result.certified
        assert result.upper is None or 0.0 <= result.lower <= result.upper
        assert "failed (RuntimeError: no luck)" in caplog.text


@pytest.mark.parametrize("solver", ["search", "scip"])
def test_what_is_called_robust_reaches_as_far_as_was_asked(solver: str) -> None:
    """Features in thousands: the boundary is 2000 away."""
    net = Perceptron(
        [np.array([[1.0]]), np.array([[0.0], [1.0]])], [np.array([-1999.0]), np.array([1.0, 0.0])]
    )
    network, anchor = gp.from_proto(net.model()), gp.Anchor(np.zeros(1, np.float32), 0)
    near, far = gp.Domain(-1500.0, 1500.0), gp.Domain(-5000.0, 5000.0)
    free = gp.Domain(-np.inf, np.inf)
    for domain, radius in ((far, None), (free, 5000.0)):
        found = gp.distance(network, anchor, solver=solver, domain=domain, radius=radius)
        assert found.status == "exact"
        assert found.upper == pytest.approx(2000.0, rel=1e-3)
    for domain, radius in ((near, None), (free, 1500.0), (far, 1500.0)):
        found = gp.distance(network, anchor, solver=solver, domain=domain, radius=radius)
        assert (found.status, found.lower, found.upper) == ("robust", 1500.0, None)
    proof = gp.certify(network, anchor, domain=far)
    assert not proof.complete
    assert 1500.0 < proof.radius <= 2000.0
    assert gp.certify(network, anchor, domain=near).complete
