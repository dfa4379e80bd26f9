"""The metric of a substitute: a rewrite pipeline, then the same algorithm on what it makes."""

from dataclasses import dataclass
from time import monotonic
from typing import ClassVar, NamedTuple

from graphprune.attacks.attack import Attack, closest_adversarial
from graphprune.attacks.confirm import closest_on_ray
from graphprune.bounds.certify import certified_radius
from graphprune.errors import OutOfTimeError
from graphprune.evaluate.distance import DistanceSettings, exact_distance
from graphprune.evaluate.estimates.base import EstimateQuery
from graphprune.evaluate.results import Answer, EstimateStatus
from graphprune.evaluate.settings import Metric
from graphprune.ir import Network
from graphprune.ir.export import with_own_source
from graphprune.pipeline import Pipeline


@dataclass(frozen=True)
class Substituted:
    """The metric of the network that a pipeline makes; nothing is proven."""

    name: ClassVar[str] = "pipeline"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric.ROB, Metric.BND)

    pipeline: Pipeline

    def run(self, asked: EstimateQuery) -> Answer:
        start = monotonic()
        pipeline = self.pipeline
        if not any(p.name == "fuse-affine" for p in pipeline.passes):
            pipeline = Pipeline((*pipeline.passes, *Pipeline.parse("fuse-affine").passes))
        try:
            substitute = pipeline.run(
                asked.network, asked.anchor, domain=asked.query.domain, facts=(asked.found,),
                deadline=asked.resources.deadline, progress=asked.resources.progress,
            ).network  # fmt: skip
        except OutOfTimeError:
            neurons = asked.network.live_neurons
            return Answer(None, "interval", neurons_left=neurons, prune_seconds=monotonic() - start)
        if substitute.source is asked.network.source:
            # Equal to the network on a ball, and asked beyond it: it speaks for itself.
            substitute = with_own_source(substitute)
        pruned = monotonic() - start
        solve = _certify if asked.metric is Metric.ROB else _solve
        value, status, capped = solve(substitute, asked, attack_on(substitute, asked))
        return Answer(
            value, status, neurons_left=substitute.live_neurons,
            layers_left=layers_left(asked.network, substitute), prune_seconds=pruned,
            capped=capped,
        )  # fmt: skip


def layers_left(network: Network, substitute: Network) -> tuple[int, ...]:
    """Per activation layer of `network`, the neurons that `substitute` has left of it."""
    left = {a.name: int(substitute.live(a).sum()) for a in substitute.activations}
    return tuple(left.get(a.name, 0) for a in network.activations)


class _Solved(NamedTuple):
    value: float | None
    status: EstimateStatus
    capped: bool


def _certify(substitute: Network, asked: EstimateQuery, known: Attack) -> _Solved:
    s = asked.settings
    proof = certified_radius(
        asked.query.about(substitute), asked.resources, s.method, known.distance, s.radius
    )
    if proof.radius >= s.domain.search_limit(asked.anchor.x, s.norm, s.radius):
        return _Solved(proof.radius, "collapsed", True)
    # Out of time the radius is whatever was certified by then, a lower end.
    if proof.stopped:
        return _Solved(proof.radius or None, "interval", False)
    return _Solved(proof.radius, "ok", False)


def _solve(substitute: Network, asked: EstimateQuery, known: Attack) -> _Solved:
    s = asked.settings
    result = exact_distance(
        asked.query.about(substitute),
        asked.resources,
        DistanceSettings(s.radius, s.solver, attack=known),
    )
    limit = s.domain.search_limit(asked.anchor.x, s.norm, s.radius)
    if result.status == "robust" or result.lower >= limit:
        # The boundary is gone, or beyond the limit asked for: there is no distance to report.
        return _Solved(None, "collapsed", True)
    status: EstimateStatus = "exact" if result.status == "exact" else "interval"
    if result.upper is None:
        return _Solved(None, status, False)  # out of time before a point was found
    return _Solved(min(result.upper, limit), status, result.upper >= limit)


def attack_on(substitute: Network, asked: EstimateQuery) -> Attack:
    """A first point for the substitute: the original's adversarial, or an attack of its own."""
    s, found = asked.settings, asked.found
    query = asked.query.about(substitute)
    if found.witness is not None:
        witness = closest_on_ray(query, found.witness.x)
        if witness is not None:
            return Attack(witness, 0.0, s.norm)
    return closest_adversarial(query, asked.resources, s.attack, s.effort)
