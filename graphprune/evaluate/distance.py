"""d_bnd: the exact distance to the decision boundary, as an interval with a status."""

from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Literal

import numpy as np

from graphprune.attacks.attack import Attack, Effort, closest_adversarial
from graphprune.attacks.confirm import Witness
from graphprune.backends.choose import Solver, attempt, survive
from graphprune.backends.protocol import (
    MEASURED,
    RELATIVE,
    Backend,
    Ledger,
    Limits,
    Problem,
    is_exact,
)
from graphprune.backends.search import opening
from graphprune.backends.trace import Trace
from graphprune.bounds.certify import Certificate, certified_margins, certified_radius
from graphprune.errors import GraphpruneError
from graphprune.evaluate.warm import warm_up
from graphprune.ir import Network
from graphprune.ir.html import table
from graphprune.progress import Interrupted, Progress, quiet
from graphprune.region import Anchor, Domain
from graphprune.runtime.resources import Resources, current

Status = Literal["exact", "interval", "robust"]

# The share of the time limit that attack and certificate may use before the solver starts.
FIRST_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Distance:
    """The distance of an anchor to the decision boundary.

    Attributes
    ----------
    lower
        Nothing is adversarial nearer than this.
    upper
        Distance of the closest point known; None where nothing adversarial is.
    status
        ``exact``: upper - lower <= max(1e-6, 1e-4 upper), never with smooth activations.
        ``interval``: stopped by a limit.
        ``robust``: nothing adversarial within `lower`, the radius asked for or the whole domain.
    witness
        The confirmed point at distance `upper`.
    certified
        False where `lower` rests on the solver's numerics.
    nodes
        Branch-and-bound nodes over all targets.
    seconds
        Wall time.
    trace
        What the search knew when it proved `lower`, where it was asked to keep it.
    """

    lower: float
    upper: float | None
    status: Status
    witness: Witness | None
    certified: bool
    nodes: int
    seconds: float
    trace: Trace | None = None

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        head = ("d_bnd", "status", "nearest class", "certified", "nodes", "seconds")
        target = "" if self.witness is None else self.witness.target
        row = (
            interval_text(self.lower, self.upper, self.status), self.status, target,
            "yes" if self.certified else "no", self.nodes, f"{self.seconds:.2f}",
        )  # fmt: skip
        return table(head, [row], "distance to the decision boundary")


def interval_text(lower: float, upper: float | None, status: str) -> str:
    """How tables write d_bnd."""
    if status == "exact" and upper is not None:
        return f"{upper:.5f}"
    if status == "robust":
        return f">= {lower:.5f} (robust)"
    return f"[{lower:.5f}, {'?' if upper is None else f'{upper:.5f}'}]"


def distance(
    network: Network,
    anchor: Anchor,
    *,
    domain: Domain | None = None,
    radius: float | None = None,
    solver: Solver = "auto",
    time_limit: float = np.inf,
    threads: int = 1,
    workers: int = 1,
    memory: float = 2.0,
    known_attack: Attack | None = None,
    known_certificate: Certificate | None = None,
    record: bool = False,
    gap: float = RELATIVE,
    before: Backend | None = None,
    progress: Progress = quiet,
) -> Distance:
    """Exact L-infinity distance of a correctly classified anchor to the decision boundary.

    min over targets t != y of min ||x - x0||_inf subject to f_t(x) >= f_y(x), x in the domain;
    by an exact backend (:mod:`graphprune.backends`), from the interval of attack and certificate.

    Parameters
    ----------
    network
        With two classes or more.
    anchor
        In the network's sample shape, inside the domain.
    domain
        Of perturbed points; [0, 1] unless given.
    radius
        Only distances below it are of interest: the exact distance if it is below `radius`,
        otherwise status ``robust``.
    solver
        ``search``, ``scip`` or ``auto``.
    time_limit
        Seconds for everything, including the attack and the certificate that are not given;
        kernels that this machine never compiled are compiled before the clock starts.
    threads
        Of SCIP.
    workers
        Processes that search; more than one only where the search takes longer than a moment.
    memory
        GiB that the open cases of the search may take, or SCIP: where they are not enough, the
        result is the interval reached.
    known_attack, known_certificate
        Results of :func:`attack` and :func:`certify` for the same network, anchor and domain, in
        the norm ``linf``.
    record
        Keep a `trace` for a certificate.
    gap
        Stop where (upper - lower) / upper is at most this.
    before
        A backend that works on what the opening leaves, before the solver.
    progress
        Told in a few words what is being done.

    Returns
    -------
    Distance
        `upper` is the distance of a point that the original model confirms.

    Raises
    ------
    GraphpruneError
        The network has one output, the solver is unknown, a limit is not positive, or what is known
        has another norm.
    AnchorError
        The anchor does not fit the network, or lies outside the domain.
    Interrupted
        Ctrl-C; its `found` is the interval reached.
    """
    if network.classes < 2:
        raise GraphpruneError("the network has one output: no decision boundary is defined")
    if not time_limit >= 0 or (radius is not None and not radius > 0) or not memory > 0:
        raise GraphpruneError("time_limit must be at least 0, radius and memory positive")
    for known in (known_attack, known_certificate):
        if known is not None and known.norm is not MEASURED:
            raise GraphpruneError(
                f"d_bnd is a distance in {MEASURED}; what is known is in {known.norm}"
            )
    domain = domain or Domain()
    anchor.require(network.input_shape, network.classes, domain)
    warm_up(progress)
    start = monotonic()
    cutoff = domain.search_limit(anchor.x, radius=radius)
    ledger = Ledger(Problem(network, anchor, domain, cutoff, gap), progress=progress, record=record)
    limits = Limits(start + time_limit, int(memory * 2**30), threads, workers)
    covered = cutoff >= domain.reach(anchor.x)
    try:
        if radius is None or known_attack is not None or not _robust(ledger, limits):
            _first(ledger, limits, solver, time_limit, known_attack, known_certificate)
            if before is not None and not ledger.closed and not limits.over:
                survive(before.name, partial(before.run, ledger, limits))
            if ledger.lower < ledger.cutoff:
                attempt(solver, ledger, limits)
    except KeyboardInterrupt:
        if ledger.lower == 0.0 and ledger.witness is None:
            raise
        raise Interrupted(_result(ledger, radius, covered, monotonic() - start)) from None
    found = _result(ledger, radius, covered, monotonic() - start)
    return replace(found, trace=ledger.trace)


def _robust(ledger: Ledger, limits: Limits) -> bool:
    """The cheap path where a radius is asked for: one pass of bounds proves most anchors."""
    problem = ledger.problem
    if limits.over:
        return False
    try:
        margins = certified_margins(problem.query, problem.cutoff)
    except GraphpruneError:
        return False
    if np.min(margins) > 0:
        ledger.raise_lower(problem.cutoff, certified=True)
        return True
    return False


def _first(
    ledger: Ledger,
    limits: Limits,
    solver: Solver,
    time_limit: float,
    known_attack: Attack | None,
    known_certificate: Certificate | None,
) -> None:
    """The interval of attack and certificate.

    Before the search a fast attack is enough, which finds closer points itself; where its opening
    settles the question, nothing else is done.
    """
    problem = ledger.problem
    share = FIRST_SHARE * time_limit

    def resources() -> Resources:
        """A share of the time for one step."""
        left = min(share, limits.remaining())
        return current().within(left).telling(ledger.progress)

    def take(effort: Effort) -> None:
        found = known_attack or closest_adversarial(problem.query, resources(), effort=effort)
        if found.witness is not None:
            ledger.take(found.witness, deadline=limits.deadline)

    if known_certificate is not None:
        ledger.raise_lower(known_certificate.radius, certified=True)
    if solver == "scip" or not problem.network.piecewise_linear:
        take("standard")
    else:
        take("fast")
        survive("search", partial(opening, ledger, limits))
        if ledger.closed:
            return
        if known_attack is None:
            take("standard")
    if known_certificate is None:
        upper = ledger.upper if ledger.witness else None
        proof = certified_radius(problem.query, resources(), upper=upper)
        ledger.raise_lower(proof.radius, certified=True)


def _result(ledger: Ledger, radius: float | None, covered: bool, seconds: float) -> Distance:
    witness, lower = ledger.witness, ledger.lower
    # What SCIP proves of nonlinear constraints is never called exact.
    smooth = not ledger.problem.network.piecewise_linear
    if witness is not None and (radius is None or witness.distance < radius):
        lower = min(lower, witness.distance)
        exact = is_exact(lower, witness.distance) and not smooth
        status: Status = "exact" if exact else "interval"
        return Distance(
            lower, witness.distance, status, witness, ledger.certified, ledger.nodes, seconds
        )
    # Without a domain the search ends somewhere, which proves nothing about what is beyond.
    proven = ledger.certified or not smooth
    if proven and lower >= ledger.problem.cutoff and (covered or radius is not None):
        # A certificate may reach further than what was asked; the answer is what was asked.
        asked = lower if radius is None else min(lower, radius)
        return Distance(asked, None, "robust", None, ledger.certified, ledger.nodes, seconds)
    upper = None if witness is None else witness.distance
    return Distance(lower, upper, "interval", witness, ledger.certified, ledger.nodes, seconds)
