"""Loops that run whole on the device, against the same steps one by one on the host."""

import numpy as np
import pytest
from numpy.typing import NDArray

import graphprune as gp
from graphprune import transforms
from graphprune.attacks import (
    descent as attack_descent,
)
from graphprune.attacks import (
    pgd as attack_pgd,
)
from graphprune.attacks import (
    step_graphs,
)
from graphprune.attacks.problem import AttackProblem, Indices
from graphprune.ir import Query
from graphprune.region import NORMS, Norm
from graphprune.runtime.provider import Provider, cuda_problem
from graphprune.runtime.resources import Resources, using
from graphprune.runtime.session import Executable
from tests.canonical.models import model_of, node

Floats = NDArray[np.float64]
TARGETS = np.array([0, 3, 8])


def slopes(problem: AttackProblem, steps: Floats, targets: Indices) -> tuple[Floats, Floats]:
    """Margins (N,) and their gradients (N, n)."""
    run = Executable(transforms.gradient(problem.network))
    rows = problem.rows(targets)
    logits, gradient = run({"x": problem.points(steps), "rows": rows})
    return np.sum(rows * logits, axis=1), gradient.reshape(len(steps), -1).astype(np.float64)


def nearest(problem: AttackProblem, constant: float, gradient: Floats) -> Floats:
    """The shortest step into a half-space, by bisection on how far every element moves."""
    size, norm = np.abs(gradient), problem.norm
    caps = np.where(gradient > 0, -problem.lower, problem.upper)

    def moves(t: float) -> Floats:
        if norm == "l1":  # all elements steeper than 1 / t, and a share of the next ones
            order = np.argsort(-size, kind="stable")
            share = np.clip(t * len(size) - np.arange(len(size)), 0.0, 1.0)
            out = np.zeros(len(size))
            out[order] = caps[order] * share
            return out
        return np.minimum(t * (np.sign(size) if norm == "linf" else size), caps)

    low, high = 0.0, 1.0
    while constant - size @ moves(high) > 0 and high < 1e6:
        high *= 2
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if constant - size @ moves(middle) > 0 else (low, middle)
    return -np.sign(gradient) * moves(high)


def descend(problem: AttackProblem, steps: Floats, iterations: int) -> tuple[Floats, Floats]:
    best, known = steps.copy(), np.full(len(steps), np.inf)
    ahead = np.ones(len(steps), bool)
    for number, pace in enumerate(attack_descent.paces(problem.norm, iterations), 1):
        margins, gradients = slopes(problem, steps, TARGETS)
        size = problem.norm.lengths(steps)
        better = (margins <= 0) & (size < known) & ahead
        best[better], known[better] = steps[better], size[better]
        constants = margins - np.einsum("ij,ij->i", gradients, steps)
        goals = np.stack(
            [nearest(problem, c, g) for c, g in zip(constants, gradients, strict=True)]
        )
        beyond = np.where(margins > 0, step_graphs.OVERSHOOT, 1.0)[:, None]
        steps = problem.clip(beyond * (steps + pace * (goals - steps)))
        if number == min(iterations, attack_descent.AHEAD):
            ahead = np.minimum(known, problem.norm.lengths(steps)) <= (
                attack_descent.BEHIND * known.min()
            )
    for i in np.flatnonzero(ahead):
        adversarial = bool(np.isfinite(known[i]))
        end = best[i] if adversarial else steps[i]
        scales = step_graphs.SHORTER if adversarial else step_graphs.LONGER
        ray = problem.clip(scales[:, None] * end)
        hits = np.flatnonzero(problem.margins(ray, np.full(len(ray), TARGETS[i])) <= 0)
        if len(hits) and problem.norm.lengths(ray)[hits[0]] < known[i]:
            best[i], known[i] = ray[hits[0]], problem.norm.lengths(ray)[hits[0]]
    return best, known


@pytest.mark.parametrize("norm", NORMS.values())
@pytest.mark.parametrize("iterations", [3, 12])
def test_descents_are_those_of_the_host(
    tiny: gp.Network, images: list[gp.Anchor], norm: Norm, iterations: int
) -> None:
    """Also across pieces: 12 steps are two of them, and rows left behind stay where they were."""
    problem = AttackProblem(Query(tiny, images[1], norm=norm))
    rng = np.random.default_rng(0)
    starts = problem.clip(0.1 * rng.uniform(-1, 1, (3, problem.start.size)))
    found = attack_descent.walk(problem, starts, TARGETS, iterations, np.inf)
    expected = descend(problem, starts, iterations)
    assert iterations == 3 or np.isfinite(expected[1]).any()
    assert np.array_equal(np.isfinite(found[1]), np.isfinite(expected[1]))
    close = np.isfinite(found[1])
    # A kink that float32 and float64 see on different sides bends a path: a little is allowed.
    assert np.allclose(found[1][close], expected[1][close], rtol=2e-3)


@pytest.mark.parametrize("norm", NORMS.values())
def test_pgd_ends_where_the_host_does(
    tiny: gp.Network, images: list[gp.Anchor], norm: Norm
) -> None:
    problem = AttackProblem(Query(tiny, images[1], norm=norm))
    radius = {"linf": 0.1, "l2": 1.5, "l1": 15.0}[norm]
    steps = attack_pgd.pgd(problem, TARGETS, radius, lambda: True)
    assert np.all(norm.lengths(steps) <= radius * (1 + 1e-5))
    margins, _ = slopes(problem, steps, TARGETS)
    assert margins.min() <= 0
    # It stops at the first step that is adversarial.
    small = attack_pgd.pgd(problem, TARGETS, radius / 100, lambda: True)
    assert slopes(problem, small, TARGETS)[0].min() > 0
    first = attack_pgd.pgd(problem, TARGETS, 1e3 * radius, lambda: True)
    assert slopes(problem, first, TARGETS)[0].min() <= 0


def test_large_inputs_look_at_the_clock_after_every_step(
    mnist_a: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of one step end where whole ones do, and where time is over at the first."""
    problem = AttackProblem(Query(mnist_a, images[0]))
    start = np.zeros((len(TARGETS), problem.start.size))
    whole, lengths_ = attack_descent.descend(problem, start, TARGETS, 6, np.inf)
    monkeypatch.setattr(step_graphs, "ELEMENTS", 1)
    monkeypatch.setattr(step_graphs, "rows_at_once", lambda _: 1 << 40)
    pieces, sizes = attack_descent.descend(problem, start, TARGETS, 6, np.inf)
    np.testing.assert_array_equal(pieces, whole)
    np.testing.assert_array_equal(sizes, lengths_)
    late, _ = attack_descent.descend(problem, start, TARGETS, 6, -np.inf)
    assert not np.array_equal(late, whole)
    looks = []

    def look() -> bool:
        looks.append(True)
        return True

    pieces = attack_pgd.pgd(problem, TARGETS, 0.01, look)
    assert len(looks) == attack_pgd.STEPS
    monkeypatch.undo()
    np.testing.assert_array_equal(pieces, attack_pgd.pgd(problem, TARGETS, 0.01, lambda: True))


def test_very_large_networks_take_a_few_rows_at_a_time(
    mnist_a: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are independent but for those that fall behind; time that is over leaves some out."""
    problem = AttackProblem(Query(mnist_a, images[0]))
    start = np.zeros((len(TARGETS), problem.start.size))
    _, whole = attack_descent.descend(problem, start, TARGETS, 6, np.inf)
    monkeypatch.setattr(step_graphs, "ELEMENTS", 0)
    steps, lengths_ = attack_descent.descend(problem, start, TARGETS, 6, np.inf)
    assert np.isfinite(lengths_[0])
    assert lengths_.min() == pytest.approx(whole.min(), rel=1e-5)
    found = np.isfinite(lengths_)
    np.testing.assert_allclose(problem.lengths(steps[found]), lengths_[found], rtol=1e-6)
    _, late = attack_descent.descend(problem, start, TARGETS, 6, -np.inf)
    assert np.all(np.isinf(late[1:]))


def test_a_seed_gives_the_same_points_twice(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    one, two, other = (gp.attack(mnist_a, images[3], seed=seed).witness for seed in (5, 5, 6))
    assert one is not None
    assert two is not None
    assert other is not None
    assert np.array_equal(one.x, two.x)
    assert not np.array_equal(one.x, other.x)


@pytest.mark.cuda
def test_attacks_on_cuda_and_cpu_end_as_close(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    if problem := cuda_problem():
        pytest.skip(problem)
    providers: tuple[Provider, ...] = ("cpu", "cuda")
    for norm in NORMS.values():
        ends = []
        for provider in providers:
            with using(Resources(provider=provider)):
                network = gp.load(str(mnist_a.source.path))
                ends.append(gp.attack(network, images[0], norm=norm, effort="fast").distance)
        assert ends[0] is not None
        assert ends[1] is not None
        assert abs(ends[1] / ends[0] - 1) <= 0.02


def test_values_of_products_count_among_what_a_step_moves() -> None:
    """Rows of an attention network are few at a time: seven of them took 9 GB."""
    nodes = [
        node("Reshape", "x s", "a"), node("Transpose", "a", "b", perm=[0, 2, 1]),
        node("MatMul", "a b", "c"), node("Flatten", "c", "d"), node("MatMul", "d w"),
    ]  # fmt: skip
    constants = {"s": np.array([-1, 64, 32]), "w": np.ones((64 * 64, 2), np.float32)}
    network = gp.from_proto(model_of(nodes, ["n", 64 * 32], constants=constants))
    pairs = 2 * 64 * 64 * 32
    assert step_graphs.row_cost(network) >= pairs
    assert step_graphs.rows_at_once(network) <= 4 * step_graphs.ELEMENTS // pairs
