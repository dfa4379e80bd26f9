"""d_adv: the closest adversarial point that is found in the time an effort allows.

Minimum-norm descent for every target from the anchor, then from random points for the most
endangered targets; the best ends are polished, by linear programs or in l2 quadratic ones. More
effort is the same start and more of it, and nothing found is ever given up for something farther.
Random points come from one generator on the host, so a seed gives the same result again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Literal, Self, TypedDict, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks import (
    descent as attack_descent,
)
from graphprune.attacks import (
    pgd as attack_pgd,
)
from graphprune.attacks import (
    polish as attack_polish,
)
from graphprune.attacks.confirm import Witness, closest_on_ray, confirm, told
from graphprune.attacks.problem import AttackProblem, Indices
from graphprune.attacks.step_graphs import rows_at_once
from graphprune.errors import GraphpruneError, check_known, check_options
from graphprune.ir import Network, Query
from graphprune.ir.query import Target
from graphprune.notebook import shown
from graphprune.progress import Interrupted, Progress, quiet
from graphprune.region import LINF, Anchor, Domain, Norm
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import not_finite
from graphprune.runtime.resources import Resources, current, using
from graphprune.threats import ThreatLike, asked

Floats = NDArray[np.float64]
Effort = Literal["fast", "standard", "thorough"]
AttackMethod = Literal["descent", "pgd"]

# Targets of one batch: of many classes, those that a first step says are nearest.
TARGETS = 12
# Steps of one minimum-norm descent.
ITERATIONS = 16
# Random points all over the domain, where descents from the anchor find nothing.
AFAR = 48
# Where a point is sought between an end and what the polish made of it.
BACK = np.array([0.0, 0.5, 0.9, 0.99, 0.999, 0.9999])
# The share of the distance that a round gains at least where another one follows.
GAIN = 0.01
# Linearisations that a candidate gets to show what it is worth, and then as the best.
TRIAL, FINISH = 1, 2


@dataclass(frozen=True)
class Round:
    """Descents from random points, and which of their ends are polished.

    Attributes
    ----------
    targets
        The most endangered ones so far.
    starts
        Random points per target.
    spread
        Where they lie: a ball of this many times the best distance. Far points reach regions of
        the boundary that descents from the anchor never see.
    keep
        Ends that get a trial polish; the best of them is finished.
    """

    targets: int
    starts: int
    spread: float
    keep: int


@dataclass(frozen=True)
class Stage:
    """Rounds, and those that go on where the last one still gained.

    Attributes
    ----------
    rounds
        All of these.
    more
        Each of these, until one gains less than `GAIN`.
    """

    rounds: Sequence[Round]
    more: Sequence[Round] = ()


# All targets first: descents from the anchor often miss the nearest class, or its region.
_STANDARD = Stage(
    (Round(TARGETS, 2, 5.0, 1), Round(2, 12, 8.0, 1)),
    2 * (Round(1, 16, 5.0, 1), Round(2, 12, 8.0, 1)),
)
_MORE = Stage((
    Round(1, 16, 8.0, 8),
    Round(4, 8, 5.0, 8),
    Round(1, 16, 3.0, 8),
    Round(9, 4, 5.0, 8),
    Round(1, 32, 5.0, 12),
    Round(2, 16, 8.0, 12),
    Round(1, 8, 1.0, 4),
))  # fmt: skip
# Stages of rounds; the best point is polished to the end after each, so that what a stage finds is
# never farther than what the effort below it does.
STAGES: dict[Effort, Sequence[Stage]] = {
    "fast": (),
    "standard": (_STANDARD,),
    "thorough": (_STANDARD, _MORE),
}


@dataclass(frozen=True, eq=False)
class Attack:
    """Result of an attack.

    Attributes
    ----------
    witness
        The closest adversarial point found; None when there is none.
    seconds
        Wall time.
    norm
        The norm of its distance.
    """

    witness: Witness | None
    seconds: float
    norm: Norm = LINF

    def with_point(self, change: Callable[[Witness], Witness]) -> Self:
        """The same with its point, if there is one, changed."""
        return self if self.witness is None else replace(self, witness=change(self.witness))

    @property
    def distance(self) -> float | None:
        """d_adv, the norm of the perturbation; None when nothing was found."""
        return None if self.witness is None else self.witness.distance

    def __repr__(self) -> str:
        if self.witness is None:
            return f"Attack(none found, {self.seconds:.2f} s)"
        norm = "" if self.norm is LINF else f" {self.norm}"
        w = self.witness
        return f"Attack({w.distance:.5g}{norm}, class {w.target}, {self.seconds:.2f} s)"

    def _repr_html_(self) -> str:
        """Show the distance and its point in a notebook."""
        w = self.witness
        row = ("none found", "") if w is None else (f"{w.distance:.5f}", w.target)
        head = ("d_adv", "class", "norm", "seconds")
        cells = (*row, self.norm, f"{self.seconds:.2f}")
        return shown(head, cells, None if w is None else w.x, "closest adversarial point found")


class AttackOptions(TypedDict, total=False):
    """Options of `attack`, as it documents them."""

    domain: Domain | None
    method: AttackMethod
    effort: Effort
    norm: str
    target: Target
    top_k: int
    threat: ThreatLike | None
    seed: int
    time_limit: float
    progress: Progress


def attack(network: Network, anchor: Anchor, **options: Unpack[AttackOptions]) -> Attack:
    """Search the closest adversarial point to a correctly classified anchor.

    Parameters
    ----------
    network
        With two classes or more.
    anchor
        In the network's sample shape, inside the domain.
    domain
        Domain of perturbed points; [0, 1] unless given.
    method
        ``descent`` (the default): as this module says. ``pgd``: PGD and bisection alone, the
        paper's baseline, whatever the effort.
    effort
        ``fast``: descents from the anchor; ``standard`` (the default) and ``thorough``: from random
        points too. A higher effort goes on from where the lower one ends, so its result is never
        farther.
    norm
        The norm of the distance: ``linf`` (the default), ``l2`` or ``l1``.
    target
        The only class that counts as adversarial, or several; every class but the label unless
        given.
    top_k
        Adversarial is where the label is not among so many best classes; 1 unless given.
    threat
        Which changes count, and in which units, as ``"mask{box=8+8+5+5}"``: anchor, domain and
        point are inputs, the distance is in the threat's units.
    seed
        Seed of the random points; 0 unless given.
    time_limit
        Seconds; the best point so far is returned when they are over.
    progress
        Told in a few words what is being done.

    Returns
    -------
    Attack
        Its distance is an upper bound of d_bnd, by a point that the original model confirms.

    Raises
    ------
    GraphpruneError
        The network has one output, the anchor does not fit it, the target is no other class, or a
        name is unknown.
    Interrupted
        Ctrl-C; its `found` is the attack with the best point so far.
    """
    check_options("attack", options, AttackOptions.__annotations__)
    query = asked(
        network, anchor, options.get("domain"), options.get("threat"),
        norm=options.get("norm", LINF), seed=options.get("seed", 0), target=options.get("target"),
        top_k=options.get("top_k", 1),
    )  # fmt: skip
    resources = current().telling(options.get("progress", quiet))
    try:
        return closest_adversarial(
            query,
            resources.within(options.get("time_limit", np.inf)),
            options.get("method", "descent"),
            options.get("effort", "standard"),
        ).with_point(partial(told, query))
    except Interrupted as stopped:
        if isinstance(stopped.found, Attack):
            stopped.found = stopped.found.with_point(partial(told, query))
        raise


def closest_adversarial(
    query: Query,
    resources: Resources,
    method: AttackMethod = "descent",
    effort: Effort = "standard",
    *,
    to_end: bool = False,
) -> Attack:
    """`attack` on a query: the form that the rest of the package calls.

    Parameters
    ----------
    to_end
        The point of descents is polished to its end at every effort, not only where stages follow.
    """
    check_known("attack", method, get_args(AttackMethod))
    check_known("effort", effort, STAGES)
    start = monotonic()
    with using(resources):
        problem = AttackProblem(query)
        search = _Search(problem, resources)
        try:
            if search.in_time() and not search.at_anchor():
                if method == "pgd":
                    search.offer(attack_pgd.bisect(problem, search.targets, search.in_time))
                else:
                    rng = np.random.default_rng([query.seed, query.anchor.index])
                    search.descend(STAGES[effort], rng, to_end=to_end)
        except KeyboardInterrupt:
            if search.best is None:
                raise
            raise Interrupted(Attack(search.best, monotonic() - start, query.norm)) from None
    return Attack(search.best, monotonic() - start, query.norm)


@dataclass(eq=False)
class _Search:
    """The best witness so far, and what may make it better."""

    problem: AttackProblem
    resources: Resources
    best: Witness | None = None
    targets: Indices = field(init=False)
    # The shortest step that descents have found for each target.
    reached: dict[int, float] = field(init=False)

    def __post_init__(self) -> None:
        problem = self.problem
        logits = run_original(problem.network, problem.query.anchor.x[None])[0]
        if not np.all(np.isfinite(logits)):
            raise GraphpruneError(not_finite(problem.network, problem.query.anchor.x))
        order = np.argsort(-logits[problem.targets], kind="stable")
        self.targets = self._nearest(problem.targets[order])
        self.reached = dict.fromkeys(self.targets.tolist(), np.inf)

    def in_time(self) -> bool:
        return not self.resources.over

    def _nearest(self, targets: Indices) -> Indices:
        """As many targets, in the order of their logits, as a batch has room for: of more, as many
        as take about a second, those that are nearest in the linear model.

        A large logit may have a flat difference, and a small one a steep one.
        """
        targets = targets[: max(TARGETS, rows_at_once(self.problem.network))]
        if len(targets) <= TARGETS or not self.in_time():
            return targets[:TARGETS]
        sizes = attack_descent.first_lengths(self.problem, targets, self.resources.deadline)
        return targets[np.argsort(sizes, kind="stable")[:TARGETS]]

    @property
    def distance(self) -> float:
        return np.inf if self.best is None else self.best.distance

    def offer(self, witness: Witness | None) -> None:
        """Keep a witness that is closer than the best."""
        if witness is not None and witness.distance < self.distance:
            self.best = witness
            self.resources.progress(f"attack {witness.distance:.5f}")

    def at_anchor(self) -> bool:
        """True where the anchor itself is adversarial: a tie."""
        query = self.problem.query
        self.offer(confirm(query, query.anchor.x[None]))
        return self.best is not None

    def descend(
        self, stages: Sequence[Stage], rng: np.random.Generator, *, to_end: bool = False
    ) -> None:
        """Descents from the anchor, then the stages."""
        zeros = np.zeros((len(self.targets), self.problem.start.size))
        to_end = to_end and not stages
        self._descents(zeros, self.targets, rounds=attack_polish.ROUNDS if to_end else 0)
        if self.best is None and self.in_time():
            self._from_afar(rng)
            if self.best is None and self.in_time():
                self._from_pgd()
            if to_end:
                self._finish()
        for stage in stages:
            before = self.distance
            for round_ in stage.rounds:
                before = self.distance
                self._round(round_, rng)
            for round_ in stage.more:
                if self.distance > (1.0 - GAIN) * before:
                    break
                before = self.distance
                self._round(round_, rng)
            self._finish()

    def _descents(self, steps: Floats, targets: Indices, *, keep: int = 1, rounds: int = 0) -> None:
        """Descents from `steps`, the best ends of which are polished."""
        problem, deadline = self.problem, self.resources.deadline
        ends, sizes = attack_descent.descend(problem, steps, targets, ITERATIONS, deadline)
        for target, size in zip(targets.tolist(), sizes.tolist(), strict=True):
            self.reached[target] = min(self.reached[target], size)
        self._polish(ends, sizes, targets, keep=keep, rounds=rounds)

    def _round(self, round_: Round, rng: np.random.Generator) -> None:
        """Descents from random points around the anchor, for the targets reached nearest."""
        if self.best is None or not self.in_time():
            return
        problem = self.problem
        order = np.array(sorted(self.reached, key=lambda t: self.reached[t]))
        chosen = np.repeat(order[: round_.targets], round_.starts)
        keep = round_.keep
        rounds = FINISH if keep > 1 else 0
        for part in self._parts(chosen):
            random = rng.uniform(-1.0, 1.0, (len(part), problem.start.size))
            scale = round_.spread * self.distance / problem.lengths(random).max()
            self._descents(problem.clip(scale * random), part, keep=keep, rounds=rounds)

    def _parts(self, targets: Indices) -> Iterator[Indices]:
        """Targets of random points, while there is time: on large networks a batch at a time.

        The points alone take seconds to draw where images are large.
        """
        count = rows_at_once(self.problem.network)
        for start in range(0, len(targets), count):
            if start == 0 or self.in_time():
                yield targets[start : start + count]

    def _from_afar(self, rng: np.random.Generator) -> None:
        """Descents from all over the domain, where none from the anchor arrives: a network that
        is flat around it gives them no direction."""
        problem, done = self.problem, 0
        domain = problem.query.domain
        reach = domain.search_limit(problem.query.anchor.x)
        # A domain tells how far; without one not even the order of magnitude is known.
        scales = np.ones(AFAR) if domain.bounded else np.geomspace(1.0, 1e-5, AFAR)
        for part in self._parts(np.resize(self.targets, AFAR)):
            random = rng.uniform(-1.0, 1.0, (len(part), problem.start.size))
            random[::2] = np.sign(random[::2])  # corners, which points inside seldom come near
            sides = np.where(random < 0, -problem.lower, problem.upper)
            scale, done = scales[done : done + len(part), None], done + len(part)
            steps = scale * random * np.minimum(sides, reach)
            self._descents(steps, part, keep=2, rounds=FINISH)

    def _finish(self) -> None:
        """Polish the best point to the end."""
        if self.best is not None and self.in_time():
            step = self.best.x.astype(np.float64).reshape(-1) - self.problem.start
            self._confirm(self._polished(step, self.best.target, attack_polish.ROUNDS))

    def _polish(
        self, steps: Floats, sizes: Floats, targets: Indices, *, keep: int, rounds: int
    ) -> None:
        """Polish the shortest steps a little; the best one for more rounds; confirm it."""
        order = [i for i in np.argsort(sizes, kind="stable")[:keep] if np.isfinite(sizes[i])]
        problem, trials = self.problem, []
        for i in order:
            step = self._polished(steps[i], int(targets[i]), TRIAL, attack_polish.COARSE)
            trials.append((float(problem.lengths(step[None])[0]), i, step))
        if not trials:
            return
        length, i, step = min(trials, key=lambda trial: trial[0])
        # A step that is far from the best after its trial stays behind it.
        if rounds and length < 1.05 * self.distance:
            step = self._polished(step, int(targets[i]), rounds)
        before = self.distance
        self._confirm(step)
        # A polished step may end where float32 sees a tie and float64 does not: at the tip of a
        # region, from which no ray leads into it.
        if self.distance == before and sizes[i] < before:
            back = problem.start + steps[i] + BACK[:, None] * (step - steps[i])
            points = back.reshape(-1, *problem.network.input_shape)
            self.offer(confirm(problem.query, points))

    def _polished(
        self, step: Floats, target: int, rounds: int, negligible: float = attack_polish.NEGLIGIBLE
    ) -> Floats:
        return attack_polish.descend(
            self.problem, step, target,
            rounds=rounds, negligible=negligible, deadline=self.resources.deadline,
        )  # fmt: skip

    def _confirm(self, step: Floats, low: float = 0.97) -> None:
        x = self.problem.start + step
        deadline = self.resources.deadline
        query = self.problem.query
        self.offer(closest_on_ray(query, x, self.distance, low=low, deadline=deadline))

    def _from_pgd(self) -> None:
        """A first point where descents found none, polished."""
        found = attack_pgd.bisect(self.problem, self.targets, self.in_time)
        self.offer(found)
        if found is not None:
            step = found.x.astype(np.float64).reshape(-1) - self.problem.start
            self._confirm(step, 0.0)
            self._confirm(self._polished(step, found.target, attack_polish.ROUNDS))
