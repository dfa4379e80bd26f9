"""d_bnd: the exact distance to the decision boundary, as an interval with a status."""

from dataclasses import dataclass
from time import monotonic
from typing import Literal

import numpy as np

from graphprune.backends.scip import TargetResult, solve_target
from graphprune.backends.scip.condensed import Condensed, condense
from graphprune.backends.scip.layered import Layered, layer
from graphprune.errors import GraphpruneError
from graphprune.ir import Anchor, Ball, Domain, Network
from graphprune.ir.network import activation_of
from graphprune.passes.analysis.attack import Attack, attack
from graphprune.passes.analysis.bounds import Boxes, linear_bounds, pre_activation_bounds
from graphprune.passes.analysis.certify import Certificate, certify, margin_rows
from graphprune.passes.analysis.witness import Witness, closest_on_ray
from graphprune.progress import Progress, quiet

Status = Literal["exact", "interval", "robust"]

# The share of the time limit that attack and certificate may use before the solver starts.
FIRST_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Distance:
    """The distance of an anchor to the decision boundary.

    Attributes
    ----------
    lower, upper
        The interval; `upper` None where nothing adversarial is known.
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
    """

    lower: float
    upper: float | None
    status: Status
    witness: Witness | None
    certified: bool
    nodes: int
    seconds: float


def is_exact(lower: float, upper: float) -> bool:
    return upper - lower <= max(1e-6, 1e-4 * upper)


def distance(
    network: Network,
    anchor: Anchor,
    *,
    domain: Domain | None = None,
    radius: float | None = None,
    time_limit: float = np.inf,
    known_attack: Attack | None = None,
    known_certificate: Certificate | None = None,
    progress: Progress = quiet,
) -> Distance:
    """Exact L-infinity distance of a correctly classified anchor to the decision boundary.

    min over targets t != y of min ||x - x0||_inf subject to f_t(x) >= f_y(x), x in the domain;
    one MILP per target that bounds do not exclude (Tjeng et al. 2019), the cutoff shared.

    Parameters
    ----------
    radius
        Only distances below it are of interest: the exact distance if it is below `radius`,
        otherwise status ``robust``.
    time_limit
        Seconds for everything, including the attack and the certificate that are not given.
    known_attack, known_certificate
        Results of :func:`attack` and :func:`certify` for the same anchor and domain.

    Returns
    -------
    Distance
        `upper` is the distance of a point that the original model confirms.
    """
    if network.classes < 2:
        raise GraphpruneError("the network has one output: no decision boundary is defined")
    start = monotonic()
    domain = domain or Domain()
    first = FIRST_SHARE * time_limit
    found = known_attack or attack(
        network, anchor, domain=domain, time_limit=first, progress=progress
    )
    proof = known_certificate or certify(
        network, anchor, domain=domain, upper=found.distance, time_limit=first, progress=progress
    )
    search = _Search(network, anchor, domain, start + time_limit, progress)
    search.witness, search.lower = found.witness, proof.radius
    search.run(radius, complete=proof.complete)
    return search.result(radius, monotonic() - start)


class _Search:
    """The interval so far, tightened target by target."""

    def __init__(
        self, network: Network, anchor: Anchor, domain: Domain, deadline: float, progress: Progress
    ) -> None:
        self.network = network
        self.anchor = anchor
        self.domain = domain
        self.deadline = deadline
        self.progress = progress
        self.witness: Witness | None = None
        self.lower = 0.0
        self.certified = True
        self.nodes = 0
        self.whole_domain = False
        self.condensed: Condensed | Layered | None = None
        # What SCIP proves of nonlinear constraints is never called exact.
        self.smooth = not all(activation_of(a).piecewise_linear for a in network.activations)
        self.ball = Ball(anchor.x.astype(np.float64), np.inf, domain)

    def cutoff(self, radius: float | None) -> float:
        """Points at this distance or beyond are of no interest."""
        reach = self.domain.search_limit(self.anchor.x)
        limits = [reach, np.inf if radius is None else radius]
        if self.witness is not None:
            limits.append(self.witness.distance)
        return float(min(limits))

    def run(self, radius: float | None, *, complete: bool) -> None:
        cutoff = self.cutoff(radius)
        if complete or self.lower >= cutoff:
            self.lower = max(self.lower, cutoff) if complete else self.lower
            self.whole_domain = complete
            return
        if self.witness is not None and is_exact(self.lower, cutoff):
            return
        open_targets = self._open_targets(cutoff)
        lowers = [self.lower] * len(open_targets)
        waiting = list(range(len(open_targets)))
        # Targets stopped by their share of the time get what the others left over, once.
        for last in (False, True):
            stopped = []
            for place, index in enumerate(waiting):
                remaining = self.deadline - monotonic()
                share = remaining if last or place + 1 == len(waiting) else 0.6 * remaining
                if remaining < 0.05 or (last and remaining < 2.0):
                    continue
                self.progress(f"target {index + 1}/{len(open_targets)}")
                result = self._solve(open_targets[index], self.cutoff(radius), share)
                lowers[index] = max(lowers[index], result.lower)
                if not result.finished:
                    stopped.append(index)
            waiting = stopped
        lower = min([self.cutoff(radius), *lowers])
        # Only a bound better than the certificate rests on the solver.
        self.certified = lower <= self.lower or not open_targets
        self.lower = max(self.lower, lower)

    def _solve(self, row: np.ndarray, cutoff: float, share: float) -> TargetResult:
        start = monotonic()
        if self.condensed is None or cutoff < self.ball.radius:
            self.ball = Ball(self.anchor.x.astype(np.float64), cutoff, self.domain)
            layers = pre_activation_bounds(self.network, Boxes.of(self.ball))
            prepare = layer if self.smooth else condense
            self.condensed = prepare(self.network, layers)
        result = solve_target(
            self.condensed, self.ball, row,
            lower=self.lower, time_limit=share - (monotonic() - start), progress=self.progress,
        )  # fmt: skip
        self.nodes += result.nodes
        if result.point is not None:
            self._improve(result.point)
        return result

    def _open_targets(self, cutoff: float) -> list[np.ndarray]:
        """Margin rows of the targets that CROWN does not exclude, the most endangered first."""
        boxes = Boxes.of(Ball(self.anchor.x.astype(np.float64), cutoff, self.domain))
        rows = margin_rows(self.network, self.anchor.label)
        try:
            layers = pre_activation_bounds(self.network, boxes)
            margins = linear_bounds(self.network, boxes, layers, rows)[0]
        except GraphpruneError:
            return list(rows)
        return [rows[i] for i in np.argsort(margins) if margins[i] <= 0]

    def _improve(self, point: np.ndarray) -> None:
        best = np.inf if self.witness is None else self.witness.distance
        x = point.reshape(self.anchor.x.shape)
        witness = closest_on_ray(self.network, self.anchor, self.domain, x, best)
        if witness is not None:
            self.witness = witness

    def result(self, radius: float | None, seconds: float) -> Distance:
        cutoff = self.cutoff(radius)
        witness = self.witness
        if witness is not None and (radius is None or witness.distance < radius):
            lower = min(self.lower, witness.distance)
            exact = is_exact(lower, witness.distance) and not self.smooth
            status: Status = "exact" if exact else "interval"
            return Distance(
                lower, witness.distance, status, witness, self.certified, self.nodes, seconds
            )
        # Without a domain the search ends somewhere, which proves nothing about what is beyond.
        limited = radius is not None or self.domain.bounded
        proven = self.certified or not self.smooth
        if proven and (self.whole_domain or (limited and self.lower >= cutoff)):
            return Distance(self.lower, None, "robust", None, self.certified, self.nodes, seconds)
        upper = None if witness is None else witness.distance
        return Distance(self.lower, upper, "interval", witness, self.certified, self.nodes, seconds)
