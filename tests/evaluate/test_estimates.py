"""Estimates: what they cost nothing to promise, and what they prove."""

from time import monotonic

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.attacks.attack import Attack
from graphprune.attacks.confirm import Witness
from graphprune.bounds import Method
from graphprune.bounds.certify import certified_margins
from graphprune.evaluate import estimates
from graphprune.evaluate.estimates import EstimateQuery, estimated, parse_estimate
from graphprune.evaluate.estimates.extrapolate import PowerLaw, RootWalk, tangent
from graphprune.evaluate.estimates.substitute import _certify, _solve
from graphprune.evaluate.reading import read_estimate
from graphprune.evaluate.results import Job, Result
from graphprune.evaluate.run import evaluate
from graphprune.evaluate.serialise import Record, value_of
from graphprune.evaluate.settings import Metric, Settings
from graphprune.ir import Query
from graphprune.passes.analysis.bounds import BallBounds
from graphprune.progress import Progress, quiet
from graphprune.region import NORMS, Domain, Norm
from graphprune.runtime.original import run_original
from graphprune.runtime.resources import Resources
from graphprune.testing import anchors
from graphprune.testing.arrays import Floats, points
from tests import drawn
from tests.canonical.models import model_of, node
from tests.conftest import MODELS, Floor
from tests.oracles import Perceptron, brute_force_distance


def estimate(
    network: gp.Network,
    anchor: gp.Anchor,
    settings: Settings,
    spec: str,
    metric: Metric,
    found: Attack,
    progress: Progress = quiet,
) -> tuple[Record, Witness | None]:
    """An estimate's record, and the point behind its upper end."""
    query = settings.query(network, anchor)
    made = estimates.estimate(query, settings, spec, metric, found, progress)
    return value_of(Result(made)), Result(made).witness


@st.composite
def perceptrons(draw: st.DrawFn) -> tuple[Perceptron, gp.Network, gp.Anchor]:
    """A small network whose distance brute force can tell, and an anchor."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    net = Perceptron.random(rng, draw(st.sampled_from([[2, 4, 3], [3, 3, 3, 2], [2, 3, 3, 3]])))
    network = gp.from_proto(net.model())
    return net, network, draw(anchors(network))


def test_a_text_is_an_estimator_or_a_pipeline() -> None:
    assert estimated("extrapolate") == ("rob",)
    assert estimated("re-anchored{rounds=2}") == ("bnd",)
    assert estimated("auto") == estimated("combined, fuse-affine") == ("rob", "bnd")
    for text, said in (
        ("extrapolat", "unknown estimate or pass 'extrapolat'; did you mean 'extrapolate'"),
        ("combine", "did you mean 'combined'"),
        ("auto, fuse-affine", "'auto' is no pass and stands alone"),
        ("extrapolate{evaluation=2}", "did you mean 'evaluations'"),
        ("extrapolate{evaluations=0}", "must be positive"),
    ):
        with pytest.raises(gp.GraphpruneError, match=said):
            parse_estimate(text)


def test_an_estimate_of_the_wrong_metric_says_so(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    record, _ = estimate(tiny, images[0], Settings(), "extrapolate", Metric.BND, Attack(None, 0.0))
    assert record["status"] == "error"
    assert record["message"] == "estimate 'extrapolate' is one of d_rob, not of d_bnd"


def test_extrapolation_is_close_and_its_lower_end_is_certified(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    errors = []
    for anchor in images[:8]:
        record, _ = estimate(tiny, anchor, Settings(), "extrapolate", Metric.ROB, Attack(None, 0.0))
        truth = gp.certify(tiny, anchor).radius
        errors.append(abs(record["value"] - truth) / truth)
        assert record["lower"] <= truth * (1 + 2e-3)
        assert certified_margins(Query(tiny, anchor), record["lower"]).min() >= 0
    assert np.mean(errors) < 0.02


@pytest.mark.parametrize("norm", NORMS.values())
def test_the_slope_is_how_fast_the_margins_fall_in_the_norm(
    norm: Norm, tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    asked = Settings(metrics=("adv", "rob"), norm=norm)
    query = asked.query(tiny, images[0])
    question = EstimateQuery(query, Metric.ROB, asked, Attack(None, 0.0), Resources())
    margin, slope = tangent(question)
    # So near the anchor that the network is linear.
    radius = {"linf": 1e-5, "l2": 1e-4, "l1": 1e-3}[norm]
    found = certified_margins(Query(tiny, images[0], norm=norm), radius)
    assert (margin - found) / radius == pytest.approx(slope, rel=0.05)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_extrapolation_takes_few_evaluations_in_every_norm(
    norm: Norm, tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    """Cheap ones counted; with another norm's slope it brackets, with some fourteen."""
    asked = Settings(metrics=("adv", "rob"), norm=norm)
    errors, told = [], list[str]()
    for anchor in images[:4]:
        record, _ = estimate(
            tiny, anchor, asked, "extrapolate", Metric.ROB, Attack(None, 0.0), told.append
        )
        truth = gp.certify(tiny, anchor, norm=norm).radius
        errors.append(abs(record["value"] - truth) / truth)
    assert np.mean(errors) < 0.04
    assert len(told) <= 6 * 4


def test_nothing_to_extrapolate_on_a_constant_network() -> None:
    network = gp.from_proto(Perceptron([np.zeros((2, 3))], [np.array([1.0, 0.0])]).model())
    anchor = gp.Anchor(np.full(3, 0.5, np.float32), 0)
    for domain in (Domain(), Domain(-np.inf, np.inf)):
        asked = Settings(metrics=("adv", "rob"), domain=domain)
        record, _ = estimate(network, anchor, asked, "extrapolate", Metric.ROB, Attack(None, 0.0))
        assert record.get("message") is None
        assert record["capped"] is True
        assert record["value"] == domain.search_limit(anchor.x)


def test_power_laws_are_exact_on_power_laws() -> None:
    m, slope = np.array([5.0, 4.0]), np.array([2.0, 1.0])
    k, p = np.array([0.7, 0.2]), np.array([1.5, 2.5])

    def margin(r: float) -> np.ndarray:
        return np.asarray(m - slope * r * (1 + k * r**p))

    model = PowerLaw(m, slope, exponent=1.0)
    model.learn(0.3, margin(0.3))
    model.learn(0.8, margin(0.8))
    assert margin(model.root()[0]).min() == pytest.approx(0.0, abs=1e-9)
    known = PowerLaw(m, slope, exponent=1.5)
    known.learn(0.9, margin(0.9))
    assert margin(known.root()[0])[0] == pytest.approx(0.0, abs=1e-9)


def test_margins_that_fall_slowly_are_continued_along_their_chord() -> None:
    model = PowerLaw(np.array([4.0]), np.array([2.0]), exponent=1.0)
    model.learn(1.0, np.array([3.0]))
    root, fits = model.root()
    assert root == pytest.approx(4.0)
    assert not fits
    model.learn(2.0, np.array([5.0]))
    assert model.root()[0] == np.inf


@given(
    breaks=st.floats(0.05, 3.0), steep=st.floats(5.0, 500.0), start=st.floats(0.01, 4.0),
    reach=st.floats(0.01, 5.0),
)  # fmt: skip
def test_margins_that_break_off_are_bracketed(
    breaks: float, steep: float, start: float, reach: float
) -> None:
    """As those of certifiably trained networks: along the slope, then suddenly down."""
    slope, m = 1.0, 4.0

    def margins(r: float) -> np.ndarray:
        return np.array([m - 0.9 * slope * r - steep * max(r - breaks, 0.0)])

    # The kink is above 0, so the root is a little beyond it.
    root = min(breaks + (m - 0.9 * breaks) / (0.9 + steep), reach)
    walk = RootWalk(reach, near=0.35)
    found = walk.root(PowerLaw(np.array([m]), np.array([slope]), 1.0), margins, start, 4)
    assert walk.lower <= root * (1 + 1e-12)
    assert found == pytest.approx(root, rel=0.5) or found < 1e-2


@settings(max_examples=15)
@given(perceptrons())
def test_re_anchored_is_a_verified_upper_bound(
    case: tuple[Perceptron, gp.Network, gp.Anchor],
) -> None:
    net, network, anchor = case
    found = gp.attack(network, anchor, effort="fast")
    if found.distance is None:
        return
    record, witness = estimate(
        network, anchor, Settings(time_limit=20), "re-anchored", Metric.BND, found
    )
    assert record.get("message") is None
    assert witness is not None
    assert record["upper"] == record["value"] == witness.distance <= found.distance
    assert witness.distance == anchor.distance(witness.x)
    logits = run_original(network, witness.x[None])[0]
    assert logits[witness.target] >= logits[anchor.label]
    truth = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    assert witness.distance >= truth - 1e-6


def test_a_collapsed_boundary_is_capped_and_has_no_value(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    found = gp.attack(tiny, images[0])
    text = "prune-constant{gamma=0.95}"
    limited = Settings(radius=0.05, time_limit=20)
    record, witness = estimate(tiny, images[0], limited, text, Metric.BND, found)
    assert (record["status"], record["value"], record["capped"]) == ("collapsed", None, True)
    assert witness is None
    near = Settings(time_limit=20)
    record, _ = estimate(tiny, images[0], near, "linearize-secant{layers=3}", Metric.BND, found)
    assert record["capped"] is False
    assert record["neurons_left"] == 0
    assert record["layers_left"] == [0] * len(tiny.activations)
    record, _ = estimate(tiny, images[0], near, "linearize-secant{layers=1}", Metric.ROB, found)
    living = [int(tiny.live(a).sum()) for a in tiny.activations]
    assert sum(record["layers_left"]) == record["neurons_left"] < sum(living)
    replaced = [n - left for n, left in zip(living, record["layers_left"], strict=True)]
    assert sum(n > 0 for n in replaced) == 1, "one layer is replaced, the others stay"
    record, _ = estimate(tiny, images[0], near, "linearize-secant{layers=3}", Metric.BND, found)
    assert 0 < record["prune_seconds"] < record["seconds"]
    assert record["lower"] is record["upper"] is None


def test_auto_is_told_of_the_attack_only(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    """The same value whether or not the same run computes d_bnd."""
    values = []
    for metrics in (("adv", "rob", "bnd"), ("adv", "rob")):
        chosen = Settings(metrics=metrics, estimates=("auto",))
        outcome = evaluate([Job(tiny, images[:1])], chosen)
        by_metric = {
            e["metric"]: e["value"] for e in outcome.documents[0]["anchors"][0]["estimates"]
        }
        values.append(by_metric["d_rob"])
        if "bnd" in metrics:
            found = gp.attack(tiny, images[0])
            alone, _ = estimate(tiny, images[0], Settings(), "auto", Metric.BND, found)
            assert by_metric["d_bnd"] == alone["value"]
    assert values[0] == values[1]


def test_auto_goes_by_network_and_budget(
    tiny: gp.Network, mnist_a: gp.Network, images: list[gp.Anchor]
) -> None:
    def chosen(network: gp.Network, metric: Metric, limit: float) -> str:
        found = gp.attack(network, images[0])
        record, _ = estimate(network, images[0], Settings(time_limit=limit), "auto", metric, found)
        assert record["value"] > 0
        return str(record["chosen"])

    assert chosen(tiny, Metric.ROB, 60.0) == "extrapolate"
    assert chosen(tiny, Metric.BND, 60.0) == "nearest"
    stable = gp.load(MODELS / "mnist-b-stable.onnx")
    assert chosen(stable, Metric.BND, 60.0) == "nearest{effort=standard}"
    assert chosen(mnist_a, Metric.BND, 5.0) == "re-anchored"
    assert chosen(mnist_a, Metric.BND, 0.5) == "nearest"


def test_nearest_is_an_attack_of_its_own(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    """Whatever the run's attack found, or failed to."""
    record, witness = estimate(
        tiny, images[0], Settings(), "nearest", Metric.BND, Attack(None, seconds=9.0)
    )
    fast = gp.attack(tiny, images[0], effort="fast")
    assert record["value"] == record["upper"] == fast.distance
    assert witness is not None
    assert record["attacked"] is False


def test_nearest_does_not_run_the_attack_of_the_run_twice(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    found = gp.attack(tiny, images[0])
    spec = "nearest{effort=standard}"
    record, witness = estimate(tiny, images[0], Settings(), spec, Metric.BND, found)
    assert witness is found.witness
    assert record["value"] == found.distance
    assert record["attacked"] is True
    assert record["seconds"] > found.seconds
    # PGD is no such attack.
    weak = Attack(None, seconds=9.0)
    record, _ = estimate(tiny, images[0], Settings(attack="pgd"), spec, Metric.BND, weak)
    assert record["value"] == found.distance
    assert record["attacked"] is False
    assert record["seconds"] < 9.0


def test_out_of_time_is_no_collapse(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    """Without a point by then there is no value; one beyond the radius asked for is capped."""

    def asked(radius: float | None) -> EstimateQuery:
        s = Settings(radius=radius)
        return EstimateQuery(
            s.query(tiny, images[0]), Metric.BND, s, Attack(None, 0.0),
            Resources(deadline=monotonic() - 1.0),
        )  # fmt: skip

    assert _solve(tiny, asked(None), Attack(None, 0.0)) == (None, "interval", False)
    found = gp.attack(tiny, images[0])
    assert found.distance is not None
    stopped = _solve(tiny, asked(None), found)
    assert stopped.value == pytest.approx(found.distance, rel=1e-4)
    assert (stopped.status, stopped.capped) == ("interval", False)
    radius = 0.5 * found.distance
    assert _solve(tiny, asked(radius), found) == (radius, "interval", True)


def test_auto_is_never_farther_than_the_nearest_point_it_looked_at(
    mnist_a: gp.Network, images: list[gp.Anchor]
) -> None:
    weak = gp.attack(mnist_a, images[0], method="pgd")
    s = Settings(attack="pgd", time_limit=2.0)
    near, _ = estimate(mnist_a, images[0], s, "nearest", Metric.BND, weak)
    record, witness = estimate(mnist_a, images[0], s, "auto", Metric.BND, weak)
    assert record["value"] <= near["value"]
    assert witness is not None
    assert witness.distance == record["upper"]


@settings(max_examples=8)
@given(drawn.perceptrons([3, 4, 3, 2]), points(3))
def test_the_plain_milp_is_exact_for_the_target_of_the_attack(
    floor: Floor, net: Perceptron, x: Floats
) -> None:
    # A tie in the middle, so that there is a boundary.
    net.biases[-1][:] -= net.logits(np.full(3, 0.6))
    network, label = gp.from_proto(net.model()), int(np.argmax(net.logits(x)))
    anchor = gp.Anchor(x.astype(np.float32), label)
    found = gp.attack(network, anchor, method="pgd")
    floor.checked(found.witness is not None, least=5)
    if found.witness is None:
        return
    record, witness = estimate(network, anchor, Settings(), "milp", Metric.BND, found)
    truth = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    assert record["status"] == "exact"
    assert record["value"] == pytest.approx(truth, rel=1e-3, abs=1e-5)
    assert record["lower"] is None, "an estimate: other targets may be nearer"
    assert witness is not None
    assert record["upper"] == record["value"] == witness.distance <= found.witness.distance
    logits = run_original(network, witness.x[None])[0]
    assert logits[witness.target] >= logits[anchor.label]


def test_the_plain_milp_has_a_time_limit_of_its_own(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    found = gp.attack(tiny, images[0], effort="fast")
    spec = "milp{seconds=0.001}"
    record, witness = estimate(tiny, images[0], Settings(time_limit=60), spec, Metric.BND, found)
    assert record["status"] == "interval"
    assert witness is found.witness
    assert record["value"] == record["upper"] == found.distance
    record, _ = estimate(tiny, images[0], Settings(), "milp", Metric.BND, Attack(None, 0.0))
    assert record["message"] == "estimate 'milp': the attack found no adversarial point"


def test_a_pipeline_keeps_to_the_time_limit(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    """A substitute that is not finished has no value: it is stopped, not gone."""
    found = gp.attack(tiny, images[0], effort="fast")
    spec = "prune-constant{gamma=0.95 step=0.001}"
    for metric in (Metric.ROB, Metric.BND):
        told: list[str] = []
        record, _ = estimate(
            tiny, images[0], Settings(time_limit=0.1), spec, metric, found, told.append
        )
        assert not any("2995/2995" in line for line in told)
        assert (record["value"], record["status"], record["capped"]) == (None, "interval", False)
        assert record["prune_seconds"] > 0.0
    record, witness = estimate(
        tiny, images[0], Settings(time_limit=0.0), "re-anchored", Metric.BND, found
    )
    assert record["value"] <= found.distance
    assert witness is not None


def test_a_certificate_of_a_substitute_out_of_time_is_a_lower_end(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    s = Settings(time_limit=0.0)
    late = Resources(deadline=monotonic() - 1.0)
    question = EstimateQuery(s.query(tiny, images[0]), Metric.ROB, s, Attack(None, 0.0), late)
    found = _certify(tiny, question, Attack(None, 0.0))
    whole = gp.certify(tiny, images[0]).radius
    # The certificate that costs a forward pass, which is no estimate of the whole one.
    assert found.status == "interval"
    assert found.value is not None
    assert 0.0 < found.value < whole
    said = {"spec": "s", "metric": "d_rob", "value": 0.01, "status": "interval"}
    assert read_estimate(said).text == ">= 0.01000"
    assert read_estimate(said | {"metric": "d_bnd"}).text == "<= 0.01000"


def test_a_constant_substitute_is_gone_without_a_domain_too(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    found = gp.attack(tiny, images[0], domain=Domain(-np.inf, np.inf))
    s = Settings(domain=Domain(-np.inf, np.inf), radius=0.5)
    # The first layer alone is left, and nothing reads it.
    spec = "substitute{by=constant gamma=1 step=1}"
    for metric in (Metric.ROB, Metric.BND):
        record, _ = estimate(tiny, images[0], s, spec, metric, found)
        assert (record["status"], record["capped"]) == ("collapsed", True)


def tied() -> tuple[gp.Network, gp.Anchor]:
    """x - 1/2 by two ReLUs against 0, at x = 1/2: two classes with the same logit."""
    weights = [np.array([[1.0], [-1.0]]), np.array([[1.0, -1.0], [0.0, 0.0]])]
    network = gp.from_proto(Perceptron(weights, [np.array([-0.5, 0.5]), np.zeros(2)]).model())
    return network, gp.Anchor(np.array([0.5], np.float32), 0)


@pytest.mark.parametrize("method", ["crown", "ibp"])
def test_a_tied_anchor_lies_on_the_boundary(method: Method) -> None:
    network, anchor = tied()
    record, _ = estimate(
        network, anchor, Settings(method=method), "extrapolate", Metric.ROB, Attack(None, 0.0)
    )
    assert (record["value"], record["lower"], record["status"]) == (0.0, 0.0, "ok")
    record, _ = estimate(network, anchor, Settings(), "nearest", Metric.BND, Attack(None, 0.0))
    assert record["value"] == 0.0


def test_nearest_out_of_time_falls_back_on_the_attack_of_the_run(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    found = gp.attack(tiny, images[0], method="pgd")
    none = Settings(time_limit=0.0, attack="pgd")
    for spec in ("nearest", "auto"):
        record, witness = estimate(tiny, images[0], none, spec, Metric.BND, found)
        assert record["value"] == found.distance
        assert record["attacked"] is True
        assert witness is found.witness
        record, _ = estimate(tiny, images[0], none, spec, Metric.BND, Attack(None, 0.0))
        assert (record["value"], record["status"], record["capped"]) == (None, "interval", False)


def test_a_gap_reached_is_no_limit(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    found = gp.attack(mnist_a, images[0], effort="fast")
    record, _ = estimate(mnist_a, images[0], Settings(), "sound{gap=0.5}", Metric.BND, found)
    assert record["status"] == "ok"
    assert 0.5 * record["upper"] <= record["lower"] < record["upper"]


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_substitutes_are_made_on_the_ball_of_the_attack(
    norm: Norm, tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    found = gp.attack(tiny, images[0], norm=norm, effort="fast")
    pipeline = gp.Pipeline.parse("bounds, substitute{gamma=0.5 by=ball}, fuse-affine")
    result = pipeline.run(tiny, images[0], facts=(found,))
    bounds = (
        gp.Pipeline.parse("bounds").run(tiny, images[0], facts=(found,)).state.facts[BallBounds]
    )
    assert (bounds.region.norm, bounds.region.radius) == (norm, found.distance)
    assert result.network.model.metadata_props["graphprune.norm"] == norm
    s = Settings(metrics=("adv", "rob"), norm=norm)
    for spec in ("prune-constant{gamma=0.5}", "linearize-secant", "combined{gamma=0.5}"):
        record, _ = estimate(tiny, images[0], s, spec, Metric.ROB, found)
        assert record["status"] == "ok"
        assert record["value"] > 0


def test_the_plain_milp_of_a_smooth_network_says_what_else_there_is() -> None:
    constants = {"w": np.eye(2, dtype=np.float32)}
    nodes = [node("MatMul", "x w", "a"), node("Tanh", "a", "h"), node("MatMul", "h w")]
    network = gp.from_proto(model_of(nodes, ["n", 2], constants=constants))
    anchor = gp.Anchor(np.array([0.6, 0.4], np.float32), 0)
    found = gp.attack(network, anchor, effort="fast")
    record, _ = estimate(network, anchor, Settings(), "milp", Metric.BND, found)
    assert record["status"] == "error"
    assert "a program of ReLUs alone" in record["message"]
