"""d_adv: projected gradient descent inside a search over the radius.

PGD (Madry et al. 2018) with 100 sign steps of radius / 50 from the anchor, all target classes as
one batch. A point found is pulled back along its ray before the search goes on, so the radius
falls faster than by bisection alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.backends.onnxruntime import compiled
from graphprune.errors import GraphpruneError
from graphprune.ir import Anchor, Ball, Domain, Network, Norm
from graphprune.passbase import Facts, Promise, State, provides, register_pass
from graphprune.passes.analysis.witness import Witness, closest_on_ray, margins
from graphprune.progress import Progress, quiet

Singles = NDArray[np.float32]

Effort = Literal["fast", "standard", "thorough"]
STEPS = 100
# Relative width of the radius bracket at which the search stops.
TOLERANCE: dict[Effort, float] = {"fast": 0.01, "standard": 0.002, "thorough": 0.0005}


@dataclass(frozen=True, eq=False)
class Attack:
    """Result of an attack.

    Attributes
    ----------
    witness
        The closest adversarial point found; None when there is none.
    seconds
        Wall time.
    """

    witness: Witness | None
    seconds: float

    @property
    def distance(self) -> float | None:
        return None if self.witness is None else self.witness.distance


def attack(
    network: Network,
    anchor: Anchor,
    *,
    domain: Domain | None = None,
    effort: Effort = "standard",
    norm: Norm = "linf",
    seed: int = 0,
    time_limit: float = np.inf,
    progress: Progress = quiet,
) -> Attack:
    """Search the closest adversarial point to a correctly classified anchor.

    Parameters
    ----------
    effort
        ``fast``, ``standard`` or ``thorough``: how finely the radius is searched, and with how
        many random starts besides the anchor (0, 0 and 4).
    norm
        Of the distance.
    time_limit
        Seconds; the best point so far is returned when they are over.

    Returns
    -------
    Attack
        Its distance is an upper bound of d_bnd, by a point that the original model confirms.
    """
    if norm != "linf":
        raise GraphpruneError(f"d_adv knows the norm linf only, not {norm}")
    start = monotonic()
    search = _Search(network, anchor, domain or Domain(), start + time_limit, progress)
    search.starts = _starts(anchor, effort, seed)
    if search.found_at(0.0):
        return Attack(search.best, monotonic() - start)
    low, high = search.bracket()
    while search.best is not None and high - low > TOLERANCE[effort] * high and search.in_time():
        middle = 0.5 * (low + high)
        if search.found_at(middle):
            high = min(middle, search.best.distance)
        else:
            low = middle
    return Attack(search.best, monotonic() - start)


def _starts(anchor: Anchor, effort: Effort, seed: int) -> NDArray[np.float64]:
    """Start points in the unit ball: the anchor, and random signs for `thorough`."""
    count = 4 if effort == "thorough" else 0
    random = np.random.default_rng([seed, anchor.index]).uniform(-1, 1, (count, anchor.x.size))
    return np.concatenate([np.zeros((1, anchor.x.size)), random])


class _Search:
    """The best witness so far, and PGD runs at one radius."""

    def __init__(
        self,
        network: Network,
        anchor: Anchor,
        domain: Domain,
        deadline: float,
        progress: Progress,
    ) -> None:
        self.network = network
        self.anchor = anchor
        self.domain = domain
        self.deadline = deadline
        self.progress = progress
        self.best: Witness | None = None
        self.starts = np.zeros((1, anchor.x.size))
        self.run = compiled(network, "gradient", lambda: transforms.gradient(network))
        self.targets = [t for t in range(network.classes) if t != anchor.label]

    def in_time(self) -> bool:
        return monotonic() < self.deadline

    def bracket(self) -> tuple[float, float]:
        """(largest radius that failed, best distance), growing the radius until one succeeds."""
        reach = self.domain.search_limit(self.anchor.x)
        low, radius = 0.0, min(0.05, reach)
        while self.in_time():
            if self.found_at(radius):
                assert self.best is not None
                return low, self.best.distance
            low = radius
            if radius >= reach:
                break
            radius = min(2.0 * radius, reach)
        return low, np.inf

    def found_at(self, radius: float) -> bool:
        """Run PGD at one radius from every start; True when `best` is now within it."""
        ball = Ball(self.anchor.x.astype(np.float64), radius, self.domain)
        for start in self.starts if radius else self.starts[:1]:
            points = self.descend(ball, ball.center + radius * start.reshape(ball.center.shape))
            for point in points:
                bound = np.inf if self.best is None else self.best.distance
                witness = closest_on_ray(self.network, self.anchor, self.domain, point, bound)
                if witness is not None and witness.distance < bound:
                    self.best = witness
                    self.progress(f"attack {witness.distance:.5f}")
        return self.best is not None and self.best.distance <= radius

    def descend(self, ball: Ball, start: NDArray[np.float64]) -> Sequence[Singles]:
        """PGD for every target at once; the first adversarial iterates, if any."""
        count = len(self.targets)
        lower, upper = ball.lower.astype(np.float32), ball.upper.astype(np.float32)
        x = np.repeat(np.clip(start, lower, upper)[None].astype(np.float32), count, axis=0)
        rows = np.zeros((count, self.network.classes), np.float32)
        rows[:, self.anchor.label] = 1.0
        rows[np.arange(count), self.targets] = -1.0
        step = np.float32(ball.radius / 50)
        for _ in range(STEPS if ball.radius else 1):
            logits, gradient = self.run({"x": x, "rows": rows})
            gap = margins(logits, self.anchor.label)[np.arange(count), self.targets]
            if np.any(gap <= 0):
                return list(x[gap <= 0])
            if not self.in_time():
                break
            x = np.clip(x - step * np.sign(gradient), lower, upper)
        logits = self.run({"x": x, "rows": rows})[0]
        gap = margins(logits, self.anchor.label)[np.arange(count), self.targets]
        return list(x[gap <= 0])


@provides(Attack)
@register_pass
@dataclass(frozen=True)
class AttackPass:
    """Find the closest adversarial point by PGD inside a search over the radius."""

    name: ClassVar[str] = "attack"
    promise: ClassVar[Promise] = "everywhere"
    needs: ClassVar[Facts] = frozenset()

    effort: Effort = "standard"
    norm: Norm = "linf"
    seed: int = 0

    def run(self, state: State) -> State:
        found = attack(
            state.network,
            state.the_anchor(self.name),
            domain=state.domain,
            effort=self.effort,
            norm=self.norm,
            seed=self.seed,
            progress=state.progress,
        )
        return state.with_fact(found)
