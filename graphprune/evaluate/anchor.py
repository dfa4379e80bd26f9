"""Metrics and estimates of one anchor as the JSON of the public contract."""

from time import monotonic
from typing import Any

from graphprune.errors import GraphpruneError
from graphprune.evaluate.distance import Distance, distance
from graphprune.evaluate.settings import Settings
from graphprune.ir import Anchor, Network
from graphprune.passes.analysis.attack import Attack, attack
from graphprune.passes.analysis.certify import Certificate, certify
from graphprune.passes.analysis.witness import Witness, closest_on_ray
from graphprune.pipeline import Pipeline
from graphprune.progress import Progress

Record = dict[str, Any]
Points = list[tuple[str, Witness]]
AUTO = "linearize-secant, fuse-affine"


def attack_json(found: Attack) -> Record:
    target = None if found.witness is None else found.witness.target
    return {"value": found.distance, "target": target, "seconds": found.seconds}


def certificate_json(proof: Certificate) -> Record:
    return {
        "value": proof.radius,
        "method": proof.method,
        "complete": proof.complete,
        "seconds": proof.seconds,
    }


def distance_json(result: Distance) -> Record:
    return {
        "lower": result.lower,
        "upper": result.upper,
        "status": result.status,
        "target": None if result.witness is None else result.witness.target,
        "certified": result.certified,
        "nodes": result.nodes,
        "seconds": result.seconds,
    }


def interval_text(lower: float, upper: float | None, status: str) -> str:
    """How tables write d_bnd."""
    if status == "exact" and upper is not None:
        return f"{upper:.5f}"
    if status == "robust":
        return f">= {lower:.5f} (robust)"
    return f"[{lower:.5f}, {'?' if upper is None else f'{upper:.5f}'}]"


def estimate(
    network: Network,
    anchor: Anchor,
    settings: Settings,
    spec: str,
    metric: str,
    found: Attack,
    progress: Progress,
) -> Record:
    """A metric of the substitute that `spec` makes; an estimate, nothing about it is proven."""
    start = monotonic()
    record: Record = {"spec": spec, "metric": f"d_{metric}", "value": None}
    record |= {"lower": None, "upper": None}
    try:
        pipeline = Pipeline.parse(AUTO if spec == "auto" else spec)
        if not any(p.name == "fuse-affine" for p in pipeline.passes):
            pipeline = Pipeline((*pipeline.passes, *Pipeline.parse("fuse-affine").passes))
        result = pipeline.run(
            network, anchor, domain=settings.domain, facts=(found,), progress=progress
        )
        substitute = result.network
        pruned = monotonic()
        record["neurons_left"] = substitute.living_neurons
        record["prune_seconds"] = pruned - start
        record |= _on_substitute(substitute, anchor, settings, metric, found, progress)
    except GraphpruneError as error:
        record |= {"status": "error", "message": str(error)}
    record["seconds"] = monotonic() - start + found.seconds
    return record


def _on_substitute(
    substitute: Network,
    anchor: Anchor,
    settings: Settings,
    metric: str,
    found: Attack,
    progress: Progress,
) -> Record:
    known = _attack_on(substitute, anchor, settings, found, progress)
    if metric == "rob":
        proof = certify(
            substitute, anchor, domain=settings.domain, method=settings.method,
            norm=settings.norm, upper=known.distance, time_limit=settings.limit, progress=progress,
        )  # fmt: skip
        return {"value": proof.radius, "status": "collapsed" if proof.complete else "ok"}
    result = distance(
        substitute, anchor, domain=settings.domain, radius=settings.radius,
        time_limit=settings.limit, known_attack=known, progress=progress,
    )  # fmt: skip
    if result.status == "robust":
        # The boundary is gone, or beyond the limit asked for: there is no distance to report.
        return {"value": None, "status": "collapsed"}
    return {"value": result.upper, "status": result.status}


def _attack_on(
    substitute: Network, anchor: Anchor, settings: Settings, found: Attack, progress: Progress
) -> Attack:
    """A first point for the substitute: the original's adversarial, or an attack of its own."""
    if found.witness is not None:
        witness = closest_on_ray(
            substitute, anchor, settings.domain, found.witness.x, norm=settings.norm
        )
        if witness is not None:
            return Attack(witness, 0.0)
    return attack(
        substitute, anchor, domain=settings.domain, effort=settings.effort,
        norm=settings.norm, seed=settings.seed, time_limit=settings.limit, progress=progress,
    )  # fmt: skip
