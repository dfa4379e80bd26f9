"""d_rob: the largest radius that a linear relaxation certifies, by root finding on the margin."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds import (
    METHODS,
    Ascent,
    Boxes,
    LayerBounds,
    Method,
    linear_bounds,
    optimised_bounds,
    pre_activation_bounds,
)
from graphprune.bounds.bracket import Bracket
from graphprune.bounds.lipschitz import bytes_for_products, lipschitz_radius
from graphprune.bounds.warm import warm_bounds
from graphprune.canonical.memory import amount
from graphprune.errors import GraphpruneError, OutOfTimeError, check_known, check_options
from graphprune.ir import Network, Query
from graphprune.ir.query import Target, classes_text
from graphprune.notebook import table
from graphprune.number_text import number_text
from graphprune.progress import Interrupted, Progress, quiet
from graphprune.region import LINF, Anchor, Ball, Domain, Norm
from graphprune.runtime.original import run_original
from graphprune.runtime.resources import Resources, current, using
from graphprune.threats import ThreatLike, asked

log = logging.getLogger("graphprune")

# Networks of at most so many neurons gain from two radii in one pass on a CPU: much of what a pass
# costs does not depend on its balls.
SMALL = 3000
# From so many neurons on, one pass may take longer than there is time.
LARGE = 50_000
# The first radius with optimised bounds of all layers, in radii that the others certify.
BEYOND = 1.08
# Steps by which the lines of neurons' bounds are optimised: in a search for the radius, and for
# margins on one ball; margins get twice as many, and no fewer than they would have alone.
SEARCHING, ONCE = 5, 20
# The share of the time left that bounds of layers may take: the margins need some.
LAYERS = 0.7
# The share of the time that spectral norms of large networks may take, and the seconds that they
# may take where nothing else has certified a radius.
NORMS, GRACE = 0.9, 0.5
# The share of the closest adversarial point's distance that is tried first, on small networks and
# on others.
NEARBY, FAR = 0.5, 0.1
# The share of the time that radii with interval bounds of the layers may take, how many are tried,
# each a tenth of the one before, and the factor from what they certify to the first radius with
# linear bounds.
FIRST, DECADES, WIDER = 0.3, 6, 4.0


@dataclass(frozen=True)
class Certificate:
    """Result of a radius search.

    Attributes
    ----------
    radius
        Largest radius certified: nothing in the ball is adversarial, rounding included.
    complete
        The whole domain is certified: there is no adversarial point at all.
    method
        The bounds used: those asked for, or ``lipschitz`` where only spectral norms certify a
        radius (:mod:`graphprune.bounds.lipschitz`).
    seconds
        Wall time.
    stopped
        The time limit (or Ctrl-C) ended the search: larger radii may be certifiable.
    norm
        The norm of the radius.
    asked
        The radius that was asked about, beyond which the search does not go; None: no such one.
    target
        The only class that counted as adversarial, or several; None: all of them.
    top_k
        The label is among so many best classes.
    """

    radius: float
    complete: bool
    method: str
    seconds: float
    stopped: bool = False
    norm: Norm = LINF
    asked: float | None = None
    target: Target = None
    top_k: int = 1

    @property
    def certified(self) -> bool | None:
        """True where the radius that was asked about is certified; None where none was."""
        return None if self.asked is None else self.complete or self.radius >= self.asked

    def __repr__(self) -> str:
        notes = [f"{self.radius:.5g}" + ("" if self.norm is LINF else f" {self.norm}"), self.method]
        if self.certified is not None:
            said = "certified" if self.certified else "undecided"
            notes.append(f"{said} at {self.asked:g}")
        if self.target is not None:
            notes.append(classes_text(self.target))
        if self.top_k > 1:
            notes.append(f"among the {self.top_k} best")
        notes += ["whole domain"] * self.complete + ["stopped"] * self.stopped
        return f"Certificate({', '.join(notes)}, {self.seconds:.2f} s)"

    def _repr_html_(self) -> str:
        """Show the radius in a notebook."""
        said = "" if self.asked is None else f"{'yes' if self.certified else 'no'}, {self.asked:g}"
        head = ("d_rob", "bounds", "norm", "certified at", "stopped", "seconds")
        stopped = "yes" if self.stopped else "no"
        radius, seconds = number_text(self.radius), f"{self.seconds:.2f}"
        row = (radius, self.method, self.norm, said, stopped, seconds)
        return table(head, [row], "certified radius")


def margin_rows(network: Network, label: int, target: Target = None) -> NDArray[np.float64]:
    """Rows (targets, classes) of f_y - f_t: for the targets, or all in increasing order."""
    rows = -np.eye(network.classes)
    rows[:, label] += 1.0
    others: NDArray[np.float64] = np.delete(rows, label, axis=0)
    return others if target is None else np.asarray(rows[np.atleast_1d(np.array(target))])


def certified_margins(query: Query, radius: float, method: Method = "crown") -> NDArray[np.float64]:
    """Proven lower bounds (targets,) of the margins on a ball, targets increasing."""
    optimise = ONCE if method == "alpha-crown" else 0
    margins: NDArray[np.float64]
    margins = margins_on(query, [query.ball(radius)], method, optimise=optimise)[0][0]
    return margins


def margins_on(
    query: Query,
    balls: Sequence[Ball],
    method: Method,
    outer: Sequence[LayerBounds] | None = None,
    enough: float = np.inf,
    *,
    below: Method | None = None,
    optimise: int = 0,
) -> tuple[NDArray[np.float64], list[LayerBounds]]:
    """Margins (B, targets) and bounds of layers.

    Parameters
    ----------
    outer
        Bounds of layers on a ball around all of these.
    below
        The method of the layers' bounds, where it is another one.
    optimise
        Steps by which the lines of all layers' bounds are optimised too, for all targets
        together, where margins are not above `enough` without.

    Raises
    ------
    OutOfTimeError
        The network is large, and time was over before there were margins.
    """
    network, boxes = query.network, Boxes.of(*balls)
    # Bounds that are missing when time is over take long on large networks.
    until = current().deadline if network.neurons > LARGE else np.inf
    if outer is not None:
        outer = [LayerBounds.stack([layer] * len(balls)) for layer in outer]
    # Layers that a deadline ends are as wide as interval arithmetic makes them, and the margins
    # hold all the same: some time is left for them.
    with using(current().within(LAYERS * current().remaining())):
        layers = pre_activation_bounds(network, boxes, below or method, outer=outer, until=until)
    if monotonic() >= until:
        raise OutOfTimeError("time was over before the margins had bounds")
    ascent = Ascent(max(Ascent.steps, 2 * optimise), enough)
    margins = _margins(query, boxes, layers, method, ascent)
    if optimise and not current().over and np.min(margins) <= enough:
        layers = optimised_bounds(network, boxes, layers, steps=optimise)
        margins = np.maximum(margins, _margins(query, boxes, layers, method, ascent))
    return margins, layers


def _margins(
    query: Query, boxes: Boxes, layers: Sequence[LayerBounds], method: Method, ascent: Ascent
) -> NDArray[np.float64]:
    """Margins (B, targets) from the bounds of the layers."""
    rows = margin_rows(
        query.network, query.anchor.label, query.target if query.top_k == 1 else None
    )
    margins = linear_bounds(query.network, boxes, layers, rows, method, ascent=ascent)
    if query.top_k > 1:
        # Where the label leaves the K best, K others win at one point: fewer margins that may be
        # negative exclude it too, mostly before the comparisons of classes do.
        single = np.sort(margins[:, :-1], axis=1)[:, query.top_k - 1]
        margins = np.maximum(single, margins[:, -1])[:, None]
    return margins


class CertifyOptions(TypedDict, total=False):
    """Options of `certify`, as it documents them."""

    domain: Domain | None
    method: Method
    norm: str
    radius: float | None
    target: Target
    top_k: int
    threat: ThreatLike | None
    upper: float | None
    time_limit: float
    progress: Progress


def certify(network: Network, anchor: Anchor, **options: Unpack[CertifyOptions]) -> Certificate:
    """Largest certified radius around a correctly classified anchor, to 0.1 %.

    Parameters
    ----------
    network
        With two classes or more.
    anchor
        In the network's sample shape, inside the domain.
    domain
        Domain of perturbed points; [0, 1] unless given.
    method
        ``crown`` (the default), ``fastlin``, ``alpha-crown``, ``ibp`` or ``fastlin-ibp``.
    norm
        The norm of the radius: ``linf`` (the default), ``l2`` or ``l1``; ``ibp`` bounds the box
        around the ball.
    radius
        Only radii up to this one are of interest: the result says whether it is `certified`. It is
        tried first.
    target
        The only class that counts as adversarial, or several; every class but the label unless
        given.
    top_k
        Adversarial is where the label is not among so many best classes; 1 unless given.
    threat
        Which changes count, and in which units, as ``"mask{box=8+8+5+5}"``: anchor and domain are
        inputs, the radius is in the threat's units.
    upper
        A distance known to hold an adversarial point: where the search may stop looking.
    time_limit
        Seconds; the largest radius certified so far is returned when they are over. Kernels that
        this machine never compiled are compiled before the clock starts.
    progress
        Told in a few words what is being done.

    Returns
    -------
    Certificate
        Its radius is d_rob, a lower bound of d_bnd.

    Raises
    ------
    GraphpruneError
        The network has one output, the radius is not positive, the target is no other class, or a
        method or norm is unknown.
    AnchorError
        The anchor does not fit the network, or lies outside the domain.
    Interrupted
        Ctrl-C; its `found` is the certificate of the largest radius so far.
    """
    check_options("certify", options, CertifyOptions.__annotations__)
    query = asked(
        network, anchor, options.get("domain"), options.get("threat"),
        norm=options.get("norm", LINF), target=options.get("target"), top_k=options.get("top_k", 1),
    )  # fmt: skip
    resources = current().telling(options.get("progress", quiet))
    method = options.get("method", "crown")
    check_known("method", method, METHODS)
    # The limit and the seconds begin when nothing is left to compile.
    warm_bounds(method, resources.progress, query.norm)
    return certified_radius(
        query,
        resources.within(options.get("time_limit", np.inf)),
        method,
        options.get("upper"),
        options.get("radius"),
    )


def certified_radius(
    query: Query,
    resources: Resources,
    method: Method = "crown",
    upper: float | None = None,
    radius: float | None = None,
) -> Certificate:
    """`certify` on a query: the form that the rest of the package calls."""
    check_known("method", method, METHODS)
    if radius is not None and not radius > 0:
        raise GraphpruneError(f"radius must be positive, not {radius}")
    start = monotonic()
    limit = query.domain.search_limit(query.anchor.x, query.norm, radius)
    first = _first_radius(query, limit, upper)
    if radius is not None and (upper is None or upper > limit):
        first = limit  # mostly the only one that is needed
    bracket = Bracket(min(upper or np.inf, limit), limit, partial(_clearance, query))

    by_norms = 0.0

    def found(*, complete: bool = False, stopped: bool) -> Certificate:
        seconds = monotonic() - start
        low = max(float(bracket.low), by_norms)
        by = method if bracket.low >= by_norms else "lipschitz"
        about = query.target if query.top_k == 1 else None, query.top_k
        return Certificate(low, complete, by, seconds, stopped, query.norm, radius, *about)

    try:
        with using(resources):
            large = query.network.neurons > LARGE
            if large and not resources.over:
                share = resources.within(NORMS * resources.remaining())
                by_norms = lipschitz_radius(query, share, bracket.limit)
                resources.progress(f"certified {by_norms:.5g}")
            if large and method in ("crown", "alpha-crown", "fastlin-ibp"):
                first = _start(bracket, query, resources, first)
            stopped = not _close(bracket, query, resources, method, first)
            eager = method == "alpha-crown" and query.network.piecewise_linear and not large
            if eager and not stopped and bracket.open_above:
                # The same once more with optimised bounds of all layers, which take long.
                first = bracket.reopen(BEYOND)
                stopped = not _close(bracket, query, resources, method, first, optimise=SEARCHING)
            if bracket.low == by_norms == 0.0 and not large:
                # At most a moment, whatever the limit is.
                moment = replace(resources, deadline=monotonic() + GRACE)
                by_norms = lipschitz_radius(query, moment, bracket.limit)
    except KeyboardInterrupt:
        if max(bracket.low, by_norms) == 0.0:
            raise
        raise Interrupted(found(stopped=True)) from None
    if bracket.obstacle and not stopped:
        log.warning("the certified radius ends at %.6g: %s", bracket.low, bracket.obstacle)
    if max(bracket.low, by_norms) == 0.0:
        _say_why(query, resources)
    complete = bool(bracket.low >= query.domain.reach(query.anchor.x, query.norm))
    return found(complete=complete, stopped=stopped)


def _say_why(query: Query, resources: Resources) -> None:
    """Say what else could have certified a radius, where nothing has."""
    needed = bytes_for_products(query.network)
    if needed > resources.memory:
        log.warning(
            "no radius is certified: the bounds of all layers are too wide or took too long, and"
            " spectral norms, which need one forward pass, would take %s for this network's"
            " products: more than the %s that they may",
            amount(needed),
            amount(resources.memory),
        )


def _clearance(query: Query) -> float:
    """The least margin at the anchor itself, in ONNX Runtime."""
    logits = run_original(query.network, query.anchor.x[None])[0].astype(np.float64)
    return float(np.min(logits[query.anchor.label] - logits[query.targets]))


def _first_radius(query: Query, limit: float, upper: float | None) -> float:
    if not upper:
        return min(0.01, limit)
    # On large networks the balls that fail by far are what takes long.
    share = NEARBY if query.network.neurons <= SMALL else FAR
    return min(share * upper, limit)


def _start(bracket: Bracket, query: Query, resources: Resources, first: float) -> float:
    """Certify a first radius with interval bounds of the layers; the radius to go on with.

    Such a pass takes a moment where linear bounds of all layers take minutes, and is the result
    where time is over before these have one.
    """
    within = resources.within(FIRST * resources.remaining())
    radius = first
    for _ in range(DECADES):
        if within.over:
            break
        try:
            with using(within):
                margins, _ = margins_on(query, [query.ball(radius)], "crown", below="ibp")
        except GraphpruneError:  # the bounds overflow, or time is over
            margins = np.full((1, 1), -np.inf)
        if np.min(margins) > 0.0:
            bracket.low = radius
            return first if radius == first else min(WIDER * radius, first)
        radius *= 0.1
    return first


def _close(
    bracket: Bracket,
    query: Query,
    resources: Resources,
    method: Method,
    first: float,
    *,
    optimise: int = 0,
) -> bool:
    """Narrow the bracket to the precision, beginning with a radius; False when time was over."""
    outer: list[LayerBounds] | None = None
    radii = [first]
    cheap = query.network.neurons <= SMALL and method != "alpha-crown"
    together = 2 if cheap or resources.device == "cuda" else 1
    while not resources.over:
        balls = [query.ball(radius) for radius in radii]
        try:
            # At a radius above 0 a proof needs no better margin than a positive one.
            margins, layers = margins_on(query, balls, method, outer, 0.0, optimise=optimise)
            least = margins.min(axis=1).tolist()
        except OutOfTimeError:
            return False
        except GraphpruneError as error:  # the bounds overflow, or leave a function's domain
            if len(radii) > 1:
                radii = radii[:1]
                continue
            least, layers = [-np.inf], []
            bracket.refused = (radii[0], str(error))
        for radius, margin in zip(radii, least, strict=True):
            bracket.add(radius, margin)
        if bracket.high in radii and layers and method != "fastlin":
            # Every later radius is smaller: what holds on this ball holds on those.
            part = radii.index(bracket.high)
            outer = [layer.take(slice(part, part + 1)) for layer in layers]
        resources.progress(f"certified {number_text(bracket.low)}")
        if bracket.closed:
            return True
        radii = bracket.next(together)
    return False
