"""Deciding properties: against brute force, and against verdicts from elsewhere."""

import csv
import itertools
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import graphprune as gp
from graphprune.backends.relaxation.cuts import with_planes
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.backends.search.settings import EffortLevel
from graphprune.backends.verify import Verdict, kernels, neurons, verify
from graphprune.backends.verify.inputs import split_inputs
from graphprune.backends.verify.network_rows import rows_of
from graphprune.backends.verify.neurons import split_neurons
from graphprune.backends.verify.query import RegionResult, VerificationQuery
from graphprune.backends.verify.settings import DEFAULT, NeuronSettings
from graphprune.backends.verify.specifications import specifications_and_errors
from graphprune.errors import GraphpruneError
from graphprune.progress import Progress
from graphprune.runtime.original import run_original
from graphprune.runtime.resources import Resources, using
from graphprune.testing import arrays
from graphprune.transforms import matrix
from graphprune.vnnlib import Property, parse_property, read_property
from tests.conftest import Floor
from tests.drawn import perceptrons, tree_settings
from tests.oracles import Floats, Perceptron


def property_text(inputs: int, outputs: int, box: list[tuple[float, float]], rest: str) -> str:
    lines = [f"(declare-const X_{i} Real)" for i in range(inputs)]
    lines += [f"(declare-const Y_{j} Real)" for j in range(outputs)]
    for i, (low, high) in enumerate(box):
        lines.append(f"(assert (>= X_{i} {low!r})) (assert (<= X_{i} {high!r}))")
    return "\n".join([*lines, rest])


def least_violation(
    net: Perceptron, box: list[tuple[float, float]], weights: Floats, limits: Floats
) -> float:
    """min over the box of the largest ``weights . y - limits``: one LP per activation pattern."""
    best = np.inf
    inputs = len(box)
    for pattern in itertools.product([0.0, 1.0], repeat=sum(len(b) for b in net.biases[:-1])):
        rows, rhs = [], []
        matrix, offset = np.eye(inputs), np.zeros(inputs)
        start = 0
        for w, b in zip(net.weights[:-1], net.biases[:-1], strict=True):
            matrix, offset = w @ matrix, w @ offset + b
            on = np.array(pattern[start : start + len(b)])
            start += len(b)
            rows.append((1 - 2 * on)[:, None] * matrix)
            rhs.append(-(1 - 2 * on) * offset)
            matrix, offset = on[:, None] * matrix, on * offset
        matrix, offset = net.weights[-1] @ matrix, net.weights[-1] @ offset + net.biases[-1]
        a = np.vstack([np.hstack([np.vstack(rows), np.zeros((sum(map(len, rhs)), 1))]),
                       np.hstack([weights @ matrix, -np.ones((len(limits), 1))])])  # fmt: skip
        b_ub = np.concatenate([*rhs, limits - weights @ offset])
        cost = np.zeros(inputs + 1)
        cost[-1] = 1.0
        found = linprog(cost, a, b_ub, bounds=[*box, (None, None)], method="highs")
        if found.status == 0:
            best = min(best, float(found.fun or 0.0))
    return best


def check(network: gp.Network, prop: Property, verdict: Verdict) -> None:
    """A counterexample needs no tolerance."""
    assert (verdict.answer == "sat") == (verdict.point is not None)
    if verdict.point is None:
        return
    x = verdict.point.x
    y = run_original(network, x.reshape(1, *network.input_shape).astype(np.float32))[0]
    np.testing.assert_array_equal(y, verdict.point.y)
    assert any(
        region.box.contains(x) and region.violated_by(verdict.point.y) for region in prop.regions
    )


@st.composite
def questions(draw: st.DrawFn) -> tuple[gp.Network, Property, float]:
    """A network and a property, and its least violation (<= 0: sat) by brute force."""
    inputs, outputs = draw(st.integers(1, 3)), 3
    net = draw(perceptrons([inputs, 3, 2, outputs]))
    center = draw(arrays.weights(inputs, largest=2.0))
    width = np.abs(draw(arrays.weights(inputs)))
    box = list(zip((center - width).tolist(), (center + width).tolist(), strict=True))
    cases, best = [], np.inf
    for _ in range(draw(st.integers(1, 3))):
        weights = draw(arrays.weights(draw(st.integers(1, 3)), outputs, largest=2.0))
        slack = draw(arrays.weights(len(weights)))
        limits = np.round(slack + weights @ net.logits(center), 3)
        best = min(best, least_violation(net, box, weights, limits))
        sums = [
            "(<= (+ " + " ".join(f"(* {c!r} Y_{j})" for j, c in enumerate(row)) + f") {limit!r})"
            for row, limit in zip(weights.tolist(), limits.tolist(), strict=True)
        ]
        cases.append(f"(and {' '.join(sums)})")
    text = property_text(inputs, outputs, box, f"(assert (or {' '.join(cases)}))")
    return gp.from_proto(net.model()), parse_property(text), best


@settings(max_examples=20)
@given(questions())
def test_verdicts_equal_brute_force(
    floor: Floor, drawn: tuple[gp.Network, Property, float]
) -> None:
    network, prop, best = drawn
    floor.checked(abs(best) > 1e-4, least=10)
    verdict = verify(network, prop, time_limit=300)
    check(network, prop, verdict)
    if best < -1e-4:
        assert verdict.answer == "sat"
    elif best > 1e-4:
        assert verdict.answer == "unsat"


def any_neuron_settings() -> st.SearchStrategy[NeuronSettings]:
    """Every order of a tree's nodes, with and without the levels before the last one."""
    return st.builds(
        NeuronSettings,
        levels=st.sampled_from([DEFAULT.levels, DEFAULT.levels[-1:], (EffortLevel(np.inf),)]),
        tree=st.one_of(st.just(DEFAULT.tree), tree_settings()),
        most_tightened=st.sampled_from([0, DEFAULT.most_tightened]),
    )


@settings(max_examples=20)
@given(questions(), any_neuron_settings())
def test_neuron_splitting_equals_brute_force(
    floor: Floor, drawn: tuple[gp.Network, Property, float], chosen: NeuronSettings
) -> None:
    """Conjunctions are decided too, although no constraint alone may exclude them."""
    network, prop, best = drawn
    floor.checked(abs(best) > 1e-4, least=10)
    query = VerificationQuery.of(network, prop.regions[0], np.inf)
    result = split_neurons(query, settings=chosen)
    assert not (result.unsat and best < -1e-6)
    assert not (result.point is not None and best > 1e-6)
    if best > 1e-4:
        assert result.unsat, result.reason
    elif best < -1e-4:
        assert result.point is not None, result.reason
    if result.point is not None:
        assert prop.regions[0].violated_by(result.point.y)


def test_too_many_neurons_get_no_constrained_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A last layer of thousands took a minute, where its tree takes seconds."""
    net = Perceptron.random(np.random.default_rng(8), [4, 12, 12, 2])
    points = np.random.default_rng(0).uniform(-1, 1, (500, 4))
    limit = min(float(net.logits(x) @ [1, -1]) for x in points) - 1.0
    text = property_text(4, 2, [(-1.0, 1.0)] * 4, f"(assert (<= (- Y_0 Y_1) {limit!r}))")
    region = parse_property(text).regions[0]
    query = VerificationQuery.of(gp.from_proto(net.model()), region, np.inf)
    bounded: list[int] = []

    def counted(root: Subproblem, *_: object) -> tuple[Subproblem, bool]:
        bounded.append(root.neurons)
        return root, False

    monkeypatch.setattr(neurons, "constrain_root", counted)
    levels = tuple(replace(level, nodes=1.0) for level in DEFAULT.levels[:2])
    split_neurons(query, settings=NeuronSettings(levels))
    assert bounded
    bounded.clear()
    split_neurons(query, settings=NeuronSettings(levels, most_tightened=0))
    assert not bounded


def test_a_polytope_without_constraints_holds_every_point() -> None:
    """A constraint whose terms all vanish says nothing: neither way to split may exclude it."""
    net = Perceptron.random(np.random.default_rng(0), [2, 4, 2])
    text = property_text(2, 2, [(0.0, 1.0)] * 2, "(assert (<= (* 0.0 Y_0) 1.0))")
    region = parse_property(text).regions[0]
    query = VerificationQuery.of(gp.from_proto(net.model()), region, np.inf)
    for result in (split_neurons(query), split_inputs(query)):
        assert not result.unsat
        assert result.point is not None


def test_both_ways_to_split_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Properties near the boundary, decided by inputs and by neurons, with every stage in use."""
    every = tuple(replace(level, nodes=1.0) for level in DEFAULT.levels[:-1])
    chosen = NeuronSettings((*every, DEFAULT.levels[-1]))
    found = []

    def counted(root: Subproblem, resources: Resources, rounds: int) -> tuple[Subproblem, int]:
        root, count = with_planes(root, resources, rounds)
        found.append(count)
        return root, count

    monkeypatch.setattr(neurons, "with_planes", counted)
    for seed in range(16):
        rng = np.random.default_rng(seed)
        net = Perceptron.random(rng, [4, 12, 12, 2])
        center = rng.normal(0, 0.5, 4)
        margins = [
            net.logits(x) @ [1, -1] for x in rng.uniform(center - 0.8, center + 0.8, (500, 4))
        ]
        share = [-0.05, 0.1, 0.3, 0.35][seed % 4]
        limit = float(min(margins) - share * (max(margins) - min(margins)) - 1e-3)
        box = [(float(v - 0.8), float(v + 0.8)) for v in center]
        text = property_text(4, 2, box, f"(assert (<= (- Y_0 Y_1) {limit!r}))")
        query = VerificationQuery.of(
            gp.from_proto(net.model()), parse_property(text).regions[0], np.inf
        )
        by_neurons, by_inputs = split_neurons(query, settings=chosen), split_inputs(query)
        assert (by_neurons.unsat, by_neurons.point is None) == (
            by_inputs.unsat, by_inputs.point is None,
        ), seed  # fmt: skip
        assert by_neurons.unsat or by_neurons.point is not None
    assert max(found) > 0


@given(
    perceptrons([3, 6, 5, 2]),
    arrays.weights(3, largest=2.0),
    arrays.factors(3),
    st.integers(0, 1000),
)
def test_bounds_hold_what_points_do(
    floor: Floor, net: Perceptron, low: arrays.Floats, width: arrays.Floats, seed: int
) -> None:
    """Every sampled point stays where the bounds and the shrunk boxes say."""
    rng = np.random.default_rng(seed)
    network = gp.from_proto(net.model())
    high = low + width
    pairs = list(zip(low.tolist(), high.tolist(), strict=True))
    limit = float(net.logits(0.5 * (low + high))[0])
    text = property_text(3, 2, pairs, f"(assert (or (<= Y_0 {limit!r}) (>= Y_0 Y_1)))")
    query = VerificationQuery.of(network, parse_property(text).regions[0], np.inf)
    rows = rows_of(network)
    specifications, error = specifications_and_errors(query, rows)
    work = kernels.box_workspace(rows, specifications)
    still = np.ones((1, 2), np.bool_)
    boxes = kernels.box_batch(query.lower[None].copy(), query.upper[None].copy(), still)
    lower, upper = boxes.lower, boxes.upper
    kernels.bound_boxes(rows, error, specifications, boxes, work)
    for x in rng.uniform(low, high, (200, 3)):
        h = np.maximum(net.weights[0] @ x + net.biases[0], 0)
        z = np.concatenate([net.weights[0] @ x + net.biases[0], net.weights[1] @ h + net.biases[1]])
        assert np.all(work.lower <= z + 1e-12)
        assert np.all(z <= work.upper + 1e-12)
        y = net.logits(x)
        for p, unsafe in enumerate([y[0] <= limit, y[0] >= y[1]]):
            if unsafe:
                floor.checked(1, least=1000)
                assert still[0, p]
                assert np.all(lower[0] <= x)
                assert np.all(x <= upper[0])


def test_short_memory_is_told() -> None:
    """Nothing is known of cases that there is no room for."""
    net = Perceptron.random(np.random.default_rng(8), [4, 12, 12, 2])
    points = np.random.default_rng(0).uniform(-1, 1, (500, 4))
    limit = min(float(net.logits(x) @ [1, -1]) for x in points) - 4.0
    text = property_text(4, 2, [(-1.0, 1.0)] * 4, f"(assert (<= (- Y_0 Y_1) {limit!r}))")
    network = gp.from_proto(net.model())
    query = VerificationQuery.of(network, parse_property(text).regions[0], np.inf)
    tree = NeuronSettings((EffortLevel(np.inf),))
    assert split_neurons(query, settings=tree).unsat
    with using(Resources(memory=1)):
        result = split_neurons(query, settings=tree)
    assert not result.unsat
    assert "memory" in result.reason


def test_the_boundary_itself_counts() -> None:
    """y = relu(x): <= and >= hold with equality; one step beyond they do not."""
    net = Perceptron([np.ones((1, 1)), np.ones((1, 1))], [np.zeros(1), np.zeros(1)])
    network = gp.from_proto(net.model())
    box = [(-1.0, 1.0)]
    for rest, answer in [
        ("(assert (>= Y_0 1.0))", "sat"),
        ("(assert (<= Y_0 0.0))", "sat"),
        ("(assert (>= Y_0 1.0000001))", "unsat"),
        ("(assert (<= Y_0 -0.0000001))", "unsat"),
        ("(assert (and (>= Y_0 0.5) (<= Y_0 0.25)))", "unsat"),
        ("(assert (<= 0 1))", "sat"),
        ("(assert (<= 1 0))", "unsat"),
    ]:
        prop = parse_property(property_text(1, 1, box, rest))
        verdict = verify(network, prop, time_limit=300)
        check(network, prop, verdict)
        assert verdict.answer == answer, rest


def test_a_box_without_any_float32_number() -> None:
    net = Perceptron([np.ones((1, 1)), np.ones((1, 1))], [np.zeros(1), np.zeros(1)])
    network = gp.from_proto(net.model())
    prop = parse_property(property_text(1, 1, [(0.1, 0.1)], "(assert (>= Y_0 0.05))"))
    verdict = verify(network, prop)
    assert verdict.point is not None
    assert repr(float(verdict.point.x[0])) == "0.1"
    assert prop.regions[0].box.lower == (Fraction(1, 10),)


def test_several_boxes() -> None:
    net = Perceptron([np.ones((1, 1)), np.ones((1, 1))], [np.zeros(1), np.zeros(1)])
    network = gp.from_proto(net.model())
    text = """(declare-const X_0 Real) (declare-const Y_0 Real) (assert (or
        (and (>= X_0 -3) (<= X_0 -2) (>= Y_0 1)) (and (>= X_0 2) (<= X_0 3) (>= Y_0 {}))))"""
    for limit, answer in [("2.5", "sat"), ("3.5", "unsat")]:
        prop = parse_property(text.format(limit))
        verdict = verify(network, prop, time_limit=300)
        check(network, prop, verdict)
        assert verdict.answer == answer


def test_sizes_must_fit(tiny: gp.Network) -> None:
    prop = parse_property(property_text(1, 1, [(0.0, 1.0)], "(assert (>= Y_0 0))"))
    with pytest.raises(GraphpruneError, match="1 inputs and 1 outputs"):
        verify(tiny, prop)


# Properties per benchmark and verdict; all of them are for benchmarks/vnncomp.py.
FEW = {"test": 1, "rl_benchmarks": 4, "acasxu": 4, "mnist_fc": 2, "marabou-cifar10": 1}


def test_verdicts_of_the_competition(truth: Path) -> None:
    with (truth / "vnncomp" / "index.csv").open(newline="") as file:
        entries = list(csv.DictReader(file))
    left = {(name, answer): n for name, n in FEW.items() for answer in ("sat", "unsat")}
    for entry in entries:
        name, agreed = entry["benchmark"].split("/")[1], entry["agreed_verdict"]
        if left.get((name, agreed), 0) == 0:
            continue
        left[name, agreed] -= 1
        network = gp.load(truth / "vnncomp" / entry["onnx"])
        prop = read_property(truth / "vnncomp" / entry["vnnlib"])
        verdict = verify(network, prop, time_limit=300)
        check(network, prop, verdict)
        assert verdict.answer == agreed, entry


def test_what_cannot_be_told_of_one_region_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Perceptron([np.ones((1, 1)), np.ones((1, 1))], [np.zeros(1), np.zeros(1)])
    network = gp.from_proto(net.model())
    either = "(or (and (<= X_0 0.25) (>= Y_0 0.2)) (and (>= X_0 0.75) (>= Y_0 0.8)))"
    prop = parse_property(property_text(1, 1, [(0.0, 1.0)], f"(assert {either})"))
    assert len(prop.regions) == 2
    module = import_module("graphprune.backends.verify.verify")
    decide = module._decide
    asked: list[VerificationQuery] = []

    def shy(query: VerificationQuery, seed: int, progress: Progress) -> RegionResult:
        asked.append(query)
        return (
            RegionResult(False, None, 1, "odd")
            if len(asked) == 1
            else decide(query, seed, progress)
        )

    monkeypatch.setattr(module, "attack", lambda *_, **__: None)
    monkeypatch.setattr(module, "_decide", shy)
    verdict = verify(network, prop)
    assert len(asked) == 2
    assert verdict.answer == "sat"
    check(network, prop, verdict)


def test_no_time_and_no_memory_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose scores are equal at a point that no start or bound of the box finds."""
    rng = np.random.default_rng(0)
    net = Perceptron(
        [rng.normal(size=(24, 24)), rng.normal(size=(2, 24))], [np.zeros(24), np.zeros(2)]
    )
    network = gp.from_proto(net.model())
    rest = "(assert (>= Y_0 60.0))"
    prop = parse_property(property_text(24, 2, [(-2.0, 2.0)] * 24, rest))
    assert verify(network, prop, time_limit=0.0).answer == "timeout"
    monkeypatch.setattr(matrix, "ALWAYS", 0)
    with using(Resources(memory=1)):
        verdict = verify(network, prop, time_limit=60.0)
    assert verdict.answer == "unknown"
    assert "GiB" in verdict.reason
