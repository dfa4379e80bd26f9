"""The question that exact backends answer, and the interval that they tighten.

A backend works on a :class:`DistanceInterval`. It writes every improvement there as it finds it, so
that a limit, Ctrl-C or a failure in its middle loses nothing, and several backends can work on the
same question one after the other.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from time import monotonic
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks.confirm import Witness, closest_on_ray, confirm
from graphprune.attacks.polish import polish
from graphprune.backends.trace import Trace
from graphprune.ir import Network, Query
from graphprune.ir.query import Target
from graphprune.progress import Interval, Progress, quiet
from graphprune.region import LINF, Anchor, Domain, Norm
from graphprune.runtime.resources import Resources

ABSOLUTE, RELATIVE = 1e-6, 1e-4
# Relative steps below a witness at which closer ones are looked for.
SHARPEN = (4e-5, 2e-6)
# By how much points may contradict proofs, relatively: logits are rounded.
ROUNDING = 1e-9

log = logging.getLogger("graphprune")
# Seconds between two progress messages.
PULSE = 0.25


def is_exact(lower: float, upper: float, gap: float = RELATIVE) -> bool:
    return upper - lower <= max(ABSOLUTE, gap * upper)


@dataclass(frozen=True, eq=False)
class DistanceProblem:
    """The distance of the decision boundary of `network` from `anchor` within `domain`.

    Attributes
    ----------
    cutoff
        Points at this distance or beyond are of no interest; finite.
    gap
        An interval with (upper - lower) / upper at most this is tight enough.
    target, top_k
        Those of the `Query`.
    norm
        The distance's.
    """

    network: Network
    anchor: Anchor
    domain: Domain
    cutoff: float
    gap: float = RELATIVE
    target: Target = None
    norm: Norm = LINF
    top_k: int = 1

    @cached_property
    def query(self) -> Query:
        """The question that confirmed points answer."""
        return Query(
            self.network, self.anchor, self.domain, self.norm,
            target=self.target, top_k=self.top_k,
        )  # fmt: skip


@dataclass(eq=False)
class DistanceInterval:
    """Incumbent and bounds: written by backends, read at any time.

    Attributes
    ----------
    witness
        The incumbent: the closest confirmed point. Its distance is the upper end.
    lower, proven
        Best lower ends: `proven` needs no trust in a solver's numerics, `lower` >= `proven` may.
    nearest
        Distance of the closest confirmed point of every class.
    nodes
        Branch-and-bound nodes.
    unstable
        Unstable neurons on the ball that was searched last; None: no ball was.
    record
        True: the search keeps a `trace` of the proof of `proven`, for a certificate.
    primal_seconds
        Time that the primal heuristic took.
    busy_elsewhere
        Number of the resources' workers that another backend uses.
    poll
        Called now and then: another backend may have found something.
    """

    problem: DistanceProblem
    witness: Witness | None = None
    lower: float = 0.0
    proven: float = 0.0
    nearest: dict[int, float] = field(default_factory=dict)
    nodes: int = 0
    unstable: int | None = None
    progress: Progress = quiet
    improved: Callable[[Witness], None] | None = None
    record: bool = False
    trace: Trace | None = None
    primal_seconds: float = 0.0
    busy_elsewhere: int = 0
    poll: Callable[[], None] | None = None
    _start: float = field(default_factory=lambda: monotonic())
    _reported: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the question was asked."""
        return monotonic() - self._start

    @property
    def upper(self) -> float:
        """Distance of the witness; inf when there is none."""
        return np.inf if self.witness is None else self.witness.distance

    @property
    def cutoff(self) -> float:
        """Points at this distance or beyond are of no interest (any more)."""
        return min(self.problem.cutoff, self.upper)

    @property
    def closed(self) -> bool:
        """Nothing is left to prove."""
        return self.lower >= self.cutoff or (
            self.upper <= self.problem.cutoff and is_exact(self.lower, self.upper, self.problem.gap)
        )

    @property
    def certified(self) -> bool:
        return self.proven >= self.lower

    def raise_lower(self, value: float, *, certified: bool) -> None:
        """Take a lower bound of the distance, capped by the cutoff."""
        value = float(min(value, self.cutoff))
        if certified:
            self.proven = max(self.proven, value)
        self.lower = max(self.lower, self.proven, value)

    def at_most_unstable(self, count: float) -> bool:
        """Return True where at most so many neurons are known to be unstable."""
        return self.unstable is not None and self.unstable <= count

    def add_candidate(self, x: NDArray[np.floating], *, deadline: float = np.inf) -> bool:
        """Try a point (flat or sample shape): True when it, polished, is the closest so far."""
        p = self.problem
        x = x.reshape(p.anchor.x.shape)
        found = closest_on_ray(p.query, x, self.upper, deadline=deadline)
        return found is not None and self.accept(found, deadline=deadline)

    def accept(self, found: Witness, *, deadline: float = np.inf, polished: bool = False) -> bool:
        """Take a confirmed point, polished if it is not; True when it is the closest so far."""
        p = self.problem
        self._note(found)
        if found.distance >= self.upper:
            return False
        self.witness = found
        better = found if polished else polish(p.query, found, deadline=deadline)
        if better.distance < found.distance:
            self.witness = better
        self._sharpen(deadline)
        self._note(self.witness)
        self.refute()
        if self.improved is not None:
            self.improved(self.witness)
        return True

    def refuted(self, lower: float, label: int | None = None) -> bool:
        """Return True where a lower end lies beyond a confirmed point by more than tolerances.

        An end of the distance of class `label` alone is refuted by points of this class only.
        """
        known = self.upper
        if label is not None and (self.witness is None or self.witness.target != label):
            known = self.nearest.get(label, np.inf)
        return not is_exact(known, lower)

    def _note(self, found: Witness) -> None:
        """Remember a point that is its class's closest."""
        self.nearest[found.target] = min(found.distance, self.nearest.get(found.target, np.inf))

    def refute(self) -> None:
        """Give up a lower end that a confirmed point refutes."""
        if self.upper < self.proven * (1.0 - ROUNDING):
            log.warning(
                "a confirmed point at %r refutes a proven bound of %r: please report this",
                self.upper, self.proven,
            )  # fmt: skip
            self.proven = 0.0
        if self.refuted(self.lower):
            self.lower = self.proven

    def _sharpen(self, deadline: float) -> None:
        """Find the last digits: confirmed points on the ray just below the witness."""
        p, witness = self.problem, self.witness
        if witness is None:
            return
        start = p.anchor.center
        step = witness.x.astype(np.float64) - start
        for width in SHARPEN:
            if monotonic() >= deadline:
                return
            shares = 1.0 - width * np.linspace(0.0, 1.0, 33)[1:]
            points = start + shares.reshape(-1, *(1,) * start.ndim) * step
            closer = confirm(p.query, points)
            if closer is not None and closer.distance < self.upper:
                self.witness = closer
                step = closer.x.astype(np.float64) - start

    def report(self, doing: str, *, always: bool = False) -> None:
        """Report where the search is, at most every `PULSE` seconds."""
        now = monotonic()
        if always or now - self._reported >= PULSE:
            self._reported = now
            if self.poll is not None:
                self.poll()
            doing = f"{doing}, {self.nodes} nodes, {now - self._start:.0f} s"
            self.progress(Interval(doing, self.lower, self.upper))


class Backend(Protocol):
    """A solver of exact distances."""

    @property
    def name(self) -> str: ...

    def run(self, interval: DistanceInterval, resources: Resources) -> None:
        """Tighten the interval until it is closed or a limit is reached.

        Raises
        ------
        UnsupportedError
            The backend does not know this kind of network.
        """
        ...
