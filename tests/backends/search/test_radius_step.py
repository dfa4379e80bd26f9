"""Radius steps: what one target hands to others, and a ball to a smaller one."""

from collections.abc import Iterator
from dataclasses import replace
from time import monotonic

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.relaxation.node_lp import solve_node
from graphprune.backends.relaxation.subproblem import CondensedRegion, Subproblem
from graphprune.backends.search.cases import ClosedCases, KnownCases
from graphprune.backends.search.node import root_of
from graphprune.backends.search.radius_step import RadiusProof, prove_radius
from graphprune.backends.search.scheduler import TreeScheduler
from graphprune.backends.search.settings import DEFAULT, EffortLevel
from graphprune.backends.search.tree import CandidateReceiver, Minimiser, Tree
from graphprune.backends.search.work_units import WorkResult, pack
from graphprune.backends.search.worker_group import WorkerGroup
from graphprune.bounds import Boxes, LayerBounds, pre_activation_bounds
from graphprune.pipeline.verify import samples_in
from graphprune.runtime.reference import forward64
from graphprune.runtime.resources import Resources
from tests.conftest import MODELS
from tests.drawn import labelled
from tests.oracles import Perceptron, brute_force_distance

RADIUS = 0.2


def prepared() -> Iterator[tuple[RadiusProof, gp.Network]]:
    """Radius steps on networks of few unstable neurons, ready for the tightening of late layers."""
    for seed in range(40):
        net = Perceptron.random(np.random.default_rng(seed), [6, 14, 14, 14, 5])
        network = gp.from_proto(net.model())
        x = np.random.default_rng(seed).uniform(0.0, 1.0, 6).astype(np.float32)
        label = int(np.argmax(net.logits(x.astype(float))))
        problem = DistanceProblem(network, gp.Anchor(x, label), gp.Domain(), 1.0)
        yield (
            RadiusProof(DistanceInterval(problem), Resources(), RADIUS, WorkerGroup(1)),
            network,
        )


def test_what_targets_share_holds_on_the_whole_ball() -> None:
    """Bounds that hold where one class wins are no bounds of another's."""
    looked = 0
    for proof, network in prepared():
        targets = proof._targets()
        if not targets or not 0 < targets[0].neurons <= DEFAULT.step.few:
            continue
        targets = proof._tightened(targets)
        if len(targets) < 2:
            continue
        proof.level = 1
        targets = proof._late_layers(targets)
        logits, *zs = forward64(network, samples_in(proof.ball, 4000))
        for target in targets:
            for z, (lower, upper) in zip(zs, proof.region.bounds, strict=True):
                flat = z.reshape(len(z), -1)
                assert np.all((flat >= lower - 1e-9) & (flat <= upper + 1e-9))
            assert target.bound <= np.min(logits @ target.row) + 1e-9
        looked += 1
    assert looked >= 3


@settings(max_examples=25)
@given(
    labelled([2, 4, 3, 3], [2, 3, 3, 3], [3, 2, 2, 2, 4]),
    st.floats(0.05, 1.2),
    st.sampled_from([None, 0.25]),
)
def test_steps_of_wide_networks_prove_no_more_than_is_true(
    drawn: tuple[Perceptron, gp.Network, gp.Anchor], share: float, least: float | None
) -> None:
    """Their roots have optimised bounds, shared by all targets on all of the ball."""
    net, network, anchor = drawn
    true = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    own = replace(DEFAULT, step=replace(DEFAULT.step, wide=0, few=0))
    problem = DistanceProblem(network, anchor, gp.Domain(), 1.0)
    radius, known = share * min(true, 1.0), KnownCases()
    for length in (radius, 0.9 * radius, 1.1 * radius):
        interval = DistanceInterval(problem)
        proof = RadiusProof(
            interval, Resources(), length, WorkerGroup(1), own, least=least, known=known
        )
        proven = proof.run(0)
        for value in (proven, interval.lower):
            assert value <= true * (1 + 1e-9) + 1e-12
        if least is None:
            assert proven >= min(length, true, 1.0) * (1.0 - 2e-4) - 1e-6
        if hasattr(proof, "region"):
            _, *zs = forward64(network, samples_in(problem.query.ball(length), 300))
            for z, (lower, upper) in zip(zs, proof.region.bounds, strict=True):
                flat = z.reshape(len(z), -1)
                assert np.all((flat >= lower - 1e-9) & (flat <= upper + 1e-9))


def test_bounds_of_a_wide_network_are_optimised_where_its_layers_are_wide() -> None:
    """The roots of all targets begin from tighter bounds; a narrow network's as before."""
    tighter = 0
    for proof, _ in prepared():
        wide = RadiusProof(
            proof.interval, Resources(), RADIUS, WorkerGroup(1),
            replace(DEFAULT, step=replace(DEFAULT.step, wide=1)),
        )  # fmt: skip
        assert wide._promising()
        layers, optimised = wide._layers, wide._tight_layers()
        unstable = proof.interval.unstable
        assert (layers is optimised) == (unstable == 0)
        for one, other in zip(layers, optimised, strict=True):
            assert np.all((one.lower <= other.lower) & (other.upper <= one.upper))
            tighter += int(np.sum(one.lower < other.lower))
        assert proof._tight_layers() is proof._layers
    assert tighter > 100


def test_open_cases_prove_nothing_beyond_the_ball() -> None:
    """Others may have been closed on the smaller ball only."""
    proof = next(r for r, _ in prepared() if (found := r._targets()) and found[0].neurons)
    target = proof._targets()[0]
    tree = Tree(proof.ball, Resources(), None)
    node = root_of(target, target.radius)
    node.radius = 0.9 * RADIUS
    tree.add([node])
    assert tree.radius == 0.9 * RADIUS
    tree.shrink(0.5 * RADIUS)
    assert tree.radius == 0.5 * RADIUS


@pytest.mark.parametrize("gap", [1e-5, 1e-7, 0.2])
def test_the_search_ends_at_any_gap(gap: float, tiny: gp.Network, images: list[gp.Anchor]) -> None:
    found = gp.distance(tiny, images[0], gap=gap)
    assert found.upper is not None
    assert found.upper - found.lower <= max(1e-6, gap * found.upper)


def test_a_distance_that_shared_bounds_made_too_large() -> None:
    """With the bounds of one class for another this was 'proven' at 0.167842."""
    network = gp.load(MODELS / "mnist-b-stable.onnx")
    anchor = gp.load_anchors(MODELS / "mnist-train-100.npz", network)[9]
    found = gp.distance(network, anchor, time_limit=120.0)
    assert found.upper is not None
    assert found.lower <= 0.167817


def test_what_a_worker_closed_on_a_smaller_ball_is_no_proof_of_the_larger() -> None:
    proof = next(r for r, _ in prepared() if (found := r._targets()) and found[0].neurons)
    target = proof._targets()[0]
    tree = Tree(proof.ball, Resources(), None)
    tree.add_roots([target])
    scheduler = TreeScheduler(tree, [target], proof.points, Resources(), WorkerGroup(1))
    ticket, lent = tree.lend(1)
    empty = pack([], [target], [])
    scheduler._take_back(tree.give_back(ticket), WorkResult(empty, empty, 1, (), 1, 0.5 * RADIUS))
    assert not len(tree)
    assert lent
    assert tree.radius == 0.5 * RADIUS


def interval_with(
    tiny: gp.Network, anchor: gp.Anchor, lower: float, proven: float
) -> DistanceInterval:
    return DistanceInterval(
        DistanceProblem(tiny, anchor, gp.Domain(), 1.0), lower=lower, proven=proven
    )


def test_a_point_refutes_what_lies_beyond_it(
    tiny: gp.Network, images: list[gp.Anchor], caplog: pytest.LogCaptureFixture
) -> None:
    witness = gp.attack(tiny, images[0]).witness
    assert witness is not None
    at = witness.distance
    # Numerics of a solver: what is proven stays.
    interval = interval_with(tiny, images[0], lower=1.1 * at, proven=0.5 * at)
    assert interval.accept(witness)
    assert (interval.lower, interval.proven, interval.closed) == (0.5 * at, 0.5 * at, False)
    # Within a solver's tolerance it is the same distance.
    interval = interval_with(tiny, images[0], lower=at * (1 + 2e-5), proven=0.5 * at)
    assert interval.accept(witness)
    assert interval.closed
    assert not caplog.records
    # A proof that is wrong is told of, and nothing rests on it.
    interval = interval_with(tiny, images[0], lower=1.1 * at, proven=1.1 * at)
    assert interval.accept(witness)
    assert (interval.lower, interval.proven) == (0.0, 0.0)
    assert "refutes a proven bound" in caplog.text


def test_what_is_known_in_another_norm_is_refused(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    """An l2 radius is larger: taken for one in linf it would prove too much."""
    proof = gp.certify(tiny, images[0], norm="l2")
    assert proof.norm == "l2"
    with pytest.raises(gp.GraphpruneError, match="what is known is in l2"):
        gp.distance(tiny, images[0], known_certificate=proof)
    found = gp.attack(tiny, images[0], norm="l1", effort="fast")
    with pytest.raises(gp.GraphpruneError, match="what is known is in l1"):
        gp.distance(tiny, images[0], known_attack=found)


def test_a_case_that_time_stopped_stays_open() -> None:
    """Its program knows no adversarial point: it is bounded again, when there is time."""
    proof = next(r for r, _ in prepared() if (found := r._targets()) and found[0].neurons)
    target = proof._targets()[0]
    answer = solve_node(target, target.parameters.phases, deadline=monotonic() - 1.0)
    assert answer.stopped
    assert not answer.closed
    tree = Tree(proof.ball, Resources(monotonic() - 1.0), None)
    node = root_of(target, target.radius)
    tree._decide(node, target, node.parameters(), target.bound, proof.points)
    assert (tree.waiting, tree.remaining()[1]) == (1, [])


@settings(max_examples=25)
@given(
    labelled([2, 5, 3], [2, 3, 3, 3], [3, 2, 2, 2, 4]),
    st.floats(0.05, 1.0),
    st.lists(st.integers(1, 4), min_size=2, max_size=4),
)
def test_unfinished_trees_of_several_targets_prove_no_more_than_is_true(
    drawn: tuple[Perceptron, gp.Network, gp.Anchor], radius: float, budgets: list[int]
) -> None:
    """What one target's tree has closed says nothing of those that others have left open."""
    net, network, anchor = drawn
    true = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    levels = tuple(
        EffortLevel(nodes, cuts=2 * place, constrained=place > 1)
        for place, nodes in enumerate(budgets)
    )
    own = replace(DEFAULT, step=replace(DEFAULT.step, levels=levels, few=0))
    interval = DistanceInterval(DistanceProblem(network, anchor, gp.Domain(), 1.0))
    for least in (0.5, None):
        step = prove_radius(interval, Resources(), radius, 0, least=least, settings=own)
        for proven in (step.radius, interval.lower):
            assert proven <= true * (1 + 1e-9) + 1e-12


def test_a_network_is_not_condensed_with_bounds_that_time_ended(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are as wide as interval arithmetic makes them: everything would be unstable."""

    def late(*args: object) -> list[LayerBounds]:
        monkeypatch.setattr(Resources, "over", True)
        return pre_activation_bounds(tiny, Boxes.of(images[0].ball(RADIUS, gp.Domain())))

    def unexpected(*_: object) -> None:
        raise AssertionError("condensed after the deadline")

    monkeypatch.setattr("graphprune.backends.search.layers.pre_activation_bounds", late)
    monkeypatch.setattr(CondensedRegion, "of", unexpected)
    interval = DistanceInterval(DistanceProblem(tiny, images[0], gp.Domain(), 1.0))
    for least in (None, 0.5):
        step = prove_radius(interval, Resources(), RADIUS, 0, least=least)
        assert (step.radius, step.stopped) == (0.0, True)


def test_the_trees_of_all_targets_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may take what the open nodes of the others leave."""
    trees: list[Tree] = []
    seen: list[ClosedCases] = []
    limits: list[tuple[int, int]] = []
    build, expand = RadiusProof._build_tree, Tree.expand

    def built(proof: RadiusProof, targets: list[Subproblem], closed: ClosedCases) -> Tree:
        if proof.nodes and closed not in seen:  # the trees of the level before are gone
            trees.clear()
        seen.append(closed)
        trees.append(build(proof, targets, closed))
        return trees[-1]

    def expanded(tree: Tree, points: CandidateReceiver) -> Minimiser | None:
        limits.append(
            (tree.resources.memory + sum(t.bytes for t in trees) - tree.bytes, len(trees))
        )
        return expand(tree, points)

    monkeypatch.setattr(RadiusProof, "_build_tree", built)
    monkeypatch.setattr(Tree, "expand", expanded)
    memory = 1 << 20
    for proof, _ in prepared():
        trees.clear()
        proof.resources = Resources(memory=memory)
        proof.settings = replace(
            DEFAULT, step=replace(DEFAULT.step, levels=(EffortLevel(4), EffortLevel(4)))
        )
        proof.run(0)
    several = [limit for limit, count in limits if count > 1]
    assert len(several) >= 3
    assert set(several) == {memory}
