"""d_bnd: the exact distance to the decision boundary, as an interval with a status."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any, Literal, Self, TypedDict, Unpack

import numpy as np

from graphprune.attacks.attack import Attack, Effort, closest_adversarial
from graphprune.attacks.confirm import Witness, confirm, searched, told
from graphprune.backends.boxes import by_halving
from graphprune.backends.choose import attempt, survive
from graphprune.backends.protocol import (
    RELATIVE,
    Backend,
    DistanceInterval,
    DistanceProblem,
    is_exact,
)
from graphprune.backends.search import first_attempt
from graphprune.backends.trace import Trace
from graphprune.bounds.certify import Certificate, certified_margins, certified_radius
from graphprune.bounds.warm import warm_bounds
from graphprune.errors import GraphpruneError, check_options
from graphprune.evaluate.warm import warm_ranges, warm_search
from graphprune.ir import Network, Query
from graphprune.ir.query import Target, classes_of, classes_text
from graphprune.notebook import shown
from graphprune.number_text import interval_text
from graphprune.progress import Interrupted, Progress, quiet
from graphprune.region import LINF, Anchor, Domain
from graphprune.runtime.resources import Resources, current
from graphprune.runtime.threads import blas_threads
from graphprune.threats import ThreatLike, asked
from graphprune.transforms.matrix import matrices_fit, matrix_bytes

Status = Literal["exact", "interval", "robust"]

# The share of the time limit that attack and certificate may use before the solver starts.
FIRST_SHARE = 0.25
# The share of the adversarial point's distance from which a second certificate goes on, where the
# first one has not proven that much.
NEAR = 0.1
# The share of the time left that the certificate has on networks that are too large to search.
ALONE = 0.6
# With more neurons than this, certificates are had sooner than radius attempts.
WIDE = 5000

log = logging.getLogger("graphprune")


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
        ``exact``: upper - lower <= max(1e-6, 1e-4 upper), by proofs where the network is not of
        ReLUs alone.
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
        The search's bounds and splits behind `lower`, where it was asked to keep them.
    """

    lower: float
    upper: float | None
    status: Status
    witness: Witness | None
    certified: bool
    nodes: int
    seconds: float
    trace: Trace | None = None

    def with_point(self, change: Callable[[Witness], Witness]) -> Self:
        """The same with its point, if there is one, changed."""
        return self if self.witness is None else replace(self, witness=change(self.witness))

    def __repr__(self) -> str:
        ends = [self.lower] if self.status == "robust" else [self.lower, self.upper]
        shown = ["?" if end is None else f"{end:.5g}" for end in ends]
        notes = [
            f"{shown[-1]} exact" if self.status == "exact"
            else f">= {shown[0]} robust" if self.status == "robust"
            else f"[{', '.join(shown)}]"
        ]  # fmt: skip
        notes += [] if self.witness is None else [f"class {self.witness.target}"]
        notes.append("certified" if self.certified else "not certified")
        return f"Distance({', '.join(notes)}, {self.seconds:.2f} s)"

    def _repr_html_(self) -> str:
        """Show a table of one row in a notebook."""
        head = ("d_bnd", "status", "nearest class", "certified", "nodes", "seconds")
        target = "" if self.witness is None else self.witness.target
        row = (
            interval_text(self.lower, self.upper, self.status, certified=self.certified),
            self.status, target,
            "yes" if self.certified else "no", self.nodes, f"{self.seconds:.2f}",
        )  # fmt: skip
        point = None if self.witness is None else self.witness.x
        return shown(head, row, point, "distance to the decision boundary")


def recorded_text(value: dict[str, Any]) -> str:
    """Write the d_bnd of an anchor's record as tables do."""
    certified = value.get("certified", True)
    return interval_text(value["lower"], value["upper"], value["status"], certified=certified)


@dataclass(frozen=True, eq=False)
class DistanceSettings:
    """Settings of an exact distance, beyond its query and its resources.

    Attributes
    ----------
    radius
        Only distances below it are of interest; None for all.
    solver
        The exact backend.
    gap
        Stop where (upper - lower) / upper is at most this.
    record
        Keep a `trace` for a certificate.
    attack, certificate
        Results for the same query that are known already.
    before
        A backend that works on what the first radius attempt leaves, before the solver.
    """

    radius: float | None = None
    solver: str = "auto"
    gap: float = RELATIVE
    record: bool = False
    attack: Attack | None = None
    certificate: Certificate | None = None
    before: Backend | None = None

    def __post_init__(self) -> None:
        if self.radius is not None and not self.radius > 0:
            raise GraphpruneError("radius must be positive")

    def require(self, query: Query) -> None:
        """Refuse a norm that the search does not know, and what is known of another question.

        Raises
        ------
        GraphpruneError
            It names the norm or the class.
        """
        query.norm.require_compiled("d_bnd")
        if self.record:
            query.norm.require_certifiable()
        for known in (self.attack, self.certificate):
            if known is not None and known.norm is not query.norm:
                raise GraphpruneError(
                    f"the distance asked for is in {query.norm}; what is known is in {known.norm}"
                )
        point = None if self.attack is None else self.attack.witness
        if point is not None and query.top_k > 1 and confirm(query, point.x[None]) is None:
            raise GraphpruneError(
                f"at the known attack's point the label is among the {query.top_k} best classes"
            )
        if point is not None and point.target not in query.targets:
            raise GraphpruneError(
                f"the known attack's point is of class {point.target}, which is not asked about"
            )
        if point is not None and not query.domain.contains(point.x.reshape(query.anchor.x.shape)):
            raise GraphpruneError("the known attack's point is not among those asked about")
        proof = self.certificate
        if proof is not None and proof.top_k > query.top_k:
            raise GraphpruneError(f"the known certificate is about the {proof.top_k} best classes")
        only = None if proof is None else proof.target
        if only is not None and not set(query.targets.tolist()) <= set(classes_of(only)):
            raise GraphpruneError(f"the known certificate is about {classes_text(only)} alone")


class DistanceOptions(TypedDict, total=False):
    """Options of `distance`, as it documents them."""

    domain: Domain | None
    norm: str
    radius: float | None
    target: Target
    top_k: int
    threat: ThreatLike | None
    solver: str
    time_limit: float
    threads: int
    workers: int
    memory: float
    known_attack: Attack | None
    known_certificate: Certificate | None
    record: bool
    gap: float
    before: Backend | None
    progress: Progress


def distance(network: Network, anchor: Anchor, **options: Unpack[DistanceOptions]) -> Distance:
    """Exact distance of a correctly classified anchor to the decision boundary.

    min over targets t != y of min ||x - x0|| subject to f_t(x) >= f_y(x), x in the domain;
    by an exact backend (:mod:`graphprune.backends`), from the interval of attack and certificate.

    Parameters
    ----------
    network
        With two classes or more.
    anchor
        In the network's sample shape, inside the domain.
    domain
        Box of perturbed points; [0, 1] unless given.
    norm
        ``linf`` (the default), ``l2`` or ``l1``.
    radius
        Only distances below it are of interest: the exact distance if it is below `radius`,
        otherwise status ``robust``.
    target, top_k
        The only class that counts as adversarial, or several; adversarial is where the label is not
        among so many best classes. Every class but the label, and 1, unless given.
    threat
        Which changes count, and in which units, as ``"mask{box=8+8+5+5}"``: anchor, domain and
        point are inputs, the distance is in the threat's units.
    solver
        ``auto`` (the default), ``search``, ``scip`` or that of a plugin.
    time_limit
        Seconds for everything, including the attack and the certificate that are not given;
        kernels that this machine never compiled are compiled before the clock starts.
    threads
        Cores for SCIP; 1 unless given.
    workers
        Processes that search, 1 unless given; more than one only where the search takes longer
        than a moment.
    memory
        GiB that the open cases of the search may take, or SCIP; 2 unless given. Where they are not
        enough, the result is the interval reached.
    known_attack, known_certificate
        Results of :func:`attack` and :func:`certify` for the same network, anchor, domain,
        threat, norm and target.
    record
        Keep a `trace` for a certificate.
    gap
        Stop where (upper - lower) / upper is at most this; 1e-4 unless given.
    before
        A backend that works on what the first radius attempt leaves, before the solver.
    progress
        Told in a few words what is being done.

    Returns
    -------
    Distance
        `upper` is the distance of a point that the original model confirms.

    Raises
    ------
    GraphpruneError
        The network has one output, the solver is unknown, a limit is not positive, the target is no
        other class, the norm is unknown, or what is known has another norm or target.
    AnchorError
        The anchor does not fit the network, or lies outside the domain.
    Interrupted
        Ctrl-C; its `found` is the interval reached.
    """
    check_options("distance", options, DistanceOptions.__annotations__)
    query = asked(
        network, anchor, options.get("domain"), options.get("threat"),
        norm=options.get("norm", LINF), target=options.get("target"),
        top_k=options.get("top_k", 1),
    )  # fmt: skip
    resources, settings = _resources_of(options), _settings_of(options, query)
    try:
        found = exact_distance(query, resources, settings)
    except Interrupted as stopped:
        if isinstance(stopped.found, Distance):
            stopped.found = stopped.found.with_point(partial(told, query))
        raise
    return found.with_point(partial(told, query))


def _resources_of(options: DistanceOptions) -> Resources:
    memory, time_limit = options.get("memory", 2.0), options.get("time_limit", np.inf)
    if not time_limit >= 0 or not memory > 0:
        raise GraphpruneError("time_limit must be at least 0, memory positive")
    return replace(
        current(),
        memory=int(memory * 2**30),
        threads=options.get("threads", 1),
        workers=options.get("workers", 1),
        progress=options.get("progress", quiet),
    ).within(time_limit)


def _settings_of(options: DistanceOptions, query: Query) -> DistanceSettings:
    attack, entry = options.get("known_attack"), query.network.source.entry
    if attack is not None and attack.witness is not None:
        behind = entry is not None and entry.local
        if behind != (attack.witness.searched is not None):
            raise GraphpruneError("the known attack is on another threat than the one asked about")
    return DistanceSettings(
        options.get("radius"),
        options.get("solver", "auto"),
        options.get("gap", RELATIVE),
        options.get("record", False),
        None if attack is None else attack.with_point(partial(searched, query)),
        options.get("known_certificate"),
        options.get("before"),
    )


def exact_distance(
    query: Query, resources: Resources, settings: DistanceSettings | None = None
) -> Distance:
    """`distance` on a query: the form that the rest of the package calls."""
    settings = settings or DistanceSettings()
    settings.require(query)
    start = monotonic()
    if by_halving(query):
        warm_bounds("crown", resources.progress, query.norm)
    elif query.network.piecewise_linear:
        warm_search(resources.progress, query.norm)
    else:
        warm_ranges(resources.progress, query.norm)
    if settings.solver == "scip":
        warm_bounds("alpha-crown", resources.progress, query.norm)
    seconds, start = monotonic() - start, monotonic()
    # Compiling does not count.
    resources = replace(resources, deadline=resources.deadline + seconds)
    cutoff = query.domain.search_limit(query.anchor.x, query.norm, settings.radius)
    interval = DistanceInterval(
        DistanceProblem(
            query.network, query.anchor, query.domain, cutoff, settings.gap, query.target,
            query.norm, query.top_k,
        ),
        progress=resources.progress, record=settings.record,
    )  # fmt: skip
    covered = cutoff >= query.domain.reach(query.anchor.x, query.norm)
    try:
        with blas_threads(resources.threads):
            _close(interval, resources, settings)
    except KeyboardInterrupt:
        if interval.lower == 0.0 and interval.witness is None:
            raise
        found = _result(interval, settings.radius, covered, monotonic() - start)
        raise Interrupted(found) from None
    found = _result(interval, settings.radius, covered, monotonic() - start)
    return replace(found, trace=interval.trace)


def _close(interval: DistanceInterval, resources: Resources, settings: DistanceSettings) -> None:
    """Narrow the interval: cheap bounds, attack and certificate, then the backends."""
    cheap = settings.radius is not None and settings.attack is None
    if cheap and _robust(interval, resources):
        return
    hurried = _first(interval, resources, settings)
    beyond = interval.witness is not None and interval.upper > interval.problem.cutoff
    if beyond and settings.radius is None:
        # Without a domain the search has some end; a point beyond it is a better one.
        interval.problem = replace(interval.problem, cutoff=interval.upper)
    if not matrices_fit(interval.problem.network, resources.memory):
        if not interval.closed:
            log.warning(
                "the interval is that of attack and certificate: exact search takes about %.0f GiB"
                " of memory on this network", matrix_bytes(interval.problem.network) / 2**30,
            )  # fmt: skip
        return
    before = settings.before
    if before is not None and not interval.closed and not resources.over:
        survive(before.name, partial(before.run, interval, resources))
    # A closed interval too: few neurons leave the search its last digits.
    if interval.lower < interval.cutoff:
        attempt(settings.solver, interval, resources)
    # A search that gives up leaves its time to a certificate that had a share of it.
    if hurried and not interval.closed and not resources.over:
        _certify(interval, resources, again=True)


def _certify(interval: DistanceInterval, resources: Resources, *, again: bool = False) -> bool:
    """Raise the lower end to the certified radius; True where time ended that early."""
    upper = interval.upper if interval.witness else None
    if again and upper is not None and interval.lower < NEAR * upper:
        upper *= NEAR  # what is about as far as the adversarial point has just failed
    proof = certified_radius(interval.problem.query, _callers(resources), upper=upper)
    interval.raise_lower(proof.radius, certified=True)
    return proof.stopped


def _callers(resources: Resources) -> Resources:
    """The memory and threads of the caller, which bounds and sessions keep, and this deadline."""
    return replace(current(), deadline=resources.deadline, progress=resources.progress)


def _robust(interval: DistanceInterval, resources: Resources) -> bool:
    """The cheap path where a radius is asked for: one pass of bounds proves most anchors."""
    problem = interval.problem
    if resources.over:
        return False
    try:
        margins = certified_margins(problem.query, problem.cutoff)
    except GraphpruneError:
        return False
    if np.min(margins) > 0:
        interval.raise_lower(problem.cutoff, certified=True)
        return True
    return False


def _first(interval: DistanceInterval, resources: Resources, settings: DistanceSettings) -> bool:
    """The interval of attack and certificate; True where its share of the time ended the latter.

    Before the search a fast attack is enough, which finds closer points itself; where its first
    radius attempt settles the question, nothing else is done. On wide networks that is hardly ever
    so, and an attempt may take longer than a certificate, which comes first there. Where no search
    follows, certificate and attack share the time.
    """
    query = interval.problem.query
    share, fits = FIRST_SHARE * resources.remaining(), matrices_fit(query.network, resources.memory)

    def take(effort: Effort) -> None:
        seconds = share if fits else resources.remaining()
        own = _callers(resources.within(seconds))
        known = settings.attack
        found = known or closest_adversarial(query, own, effort=effort, to_end=True)
        if found.witness is not None:
            deadline = resources.deadline
            interval.accept(found.witness, deadline=deadline, polished=known is None)

    def prove() -> bool:
        if settings.certificate is not None:
            return False
        # Where no search follows, certificates have the time for it; that of ranges goes on from
        # the certified radius, and proves nothing on networks whose certificates take long.
        linear = fits and query.network.piecewise_linear
        seconds = share if linear else ALONE * resources.remaining()
        return _certify(interval, resources.within(seconds))

    if settings.certificate is not None:
        interval.raise_lower(settings.certificate.radius, certified=True)
    if not fits:
        hurried = prove()
        take("standard")
        return hurried
    if settings.solver == "scip" or not query.network.piecewise_linear or by_halving(query):
        take("standard")
        return prove()
    take("fast")
    wide = query.network.neurons > WIDE
    hurried = wide and prove()
    limited = resources.within(share) if wide else resources
    survive("search", partial(first_attempt, interval, limited))
    if interval.closed:
        return hurried
    if settings.attack is None:
        take("standard")
    return hurried if wide else prove()


def _result(
    interval: DistanceInterval, radius: float | None, covered: bool, seconds: float
) -> Distance:
    witness, lower = interval.witness, interval.lower
    # SCIP's proofs about nonlinear constraints are never called exact.
    proven = interval.certified or interval.problem.network.piecewise_linear
    if witness is not None and (radius is None or witness.distance < radius):
        lower = min(lower, witness.distance)
        exact = is_exact(lower, witness.distance) and proven
        status: Status = "exact" if exact else "interval"
        return Distance(
            lower, witness.distance, status, witness, interval.certified, interval.nodes, seconds
        )
    # Without a domain the search ends somewhere, which proves nothing about what is beyond.
    if proven and lower >= interval.problem.cutoff and (covered or radius is not None):
        # A certificate may reach further than what was asked; the answer is what was asked.
        asked = lower if radius is None else min(lower, radius)
        return Distance(asked, None, "robust", None, interval.certified, interval.nodes, seconds)
    upper = None if witness is None else witness.distance
    return Distance(lower, upper, "interval", witness, interval.certified, interval.nodes, seconds)
