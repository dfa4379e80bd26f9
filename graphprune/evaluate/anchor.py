"""All metrics and estimates of one anchor, as the JSON of the public contract."""

import logging
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import numpy as np

from graphprune.backends.onnxruntime import run_original
from graphprune.errors import GraphpruneError
from graphprune.evaluate.distance import Distance, distance
from graphprune.evaluate.settings import Settings
from graphprune.ir import Anchor, Network
from graphprune.passes.analysis.attack import Attack, attack
from graphprune.passes.analysis.certify import Certificate, certify
from graphprune.passes.analysis.witness import Witness, closest_on_ray
from graphprune.pipeline import Pipeline
from graphprune.progress import Progress, quiet

Record = dict[str, Any]
Points = list[tuple[str, Witness]]
# Told after each finished stage: the stage and what it found.
Stage = Callable[[str, str], None]

log = logging.getLogger("graphprune")
AUTO = "linearize-secant, fuse-affine"


def no_stage(stage: str, result: str) -> None:
    """Say nothing."""


def evaluate_anchor(
    network: Network,
    anchor: Anchor,
    settings: Settings,
    *,
    progress: Progress = quiet,
    stage: Stage = no_stage,
) -> tuple[Record, Points]:
    """Metrics and estimates of one anchor.

    Returns
    -------
    record
        One element of ``anchors`` of the JSON document; errors are recorded, not raised.
    points
        (metric, witness) pairs: the concrete points behind the upper bounds.
    """
    record: Record = {"index": anchor.index, "label": anchor.label}
    try:
        logits = run_original(network, anchor.x[None])[0]
        record["predicted"] = int(np.argmax(logits))
        if not np.all(np.isfinite(logits)):
            raise GraphpruneError("the network's logits at the anchor are not finite")
        if network.classes < 2:
            raise GraphpruneError("the network has one output: no decision boundary is defined")
        if logits[anchor.label] < logits.max():
            return record | _misclassified(settings), []
        record["status"] = "ok"
        points: Points = []
        for key, value in _metrics(network, anchor, settings, points, progress, stage):
            record[key] = value
    except GraphpruneError as error:
        return record | {"status": "error", "message": str(error)}, []
    except Exception as error:
        # One anchor's surprise (a solver out of memory, say) never costs the others.
        log.info("anchor %d", anchor.index, exc_info=True)
        message = f"{type(error).__name__}: {error}"
        return record | {"status": "error", "message": message}, []
    return record, points


def _misclassified(settings: Settings) -> Record:
    """Every distance of a misclassified anchor is 0."""
    zeros: Record = {
        "adv": {"value": 0.0, "target": None, "seconds": 0.0},
        "rob": {"value": 0.0, "method": settings.method, "seconds": 0.0},
        "bnd": {"lower": 0.0, "upper": 0.0, "status": "exact", "target": None, "seconds": 0.0},
    }
    chosen = {f"d_{m}": zeros[m] for m in zeros if m in settings.metrics}
    return {"status": "misclassified", **chosen, "estimates": []}


def _metrics(
    network: Network,
    anchor: Anchor,
    settings: Settings,
    points: Points,
    progress: Progress,
    stage: Stage,
) -> Iterator[tuple[str, Any]]:
    found: Attack | None = None
    proof: Certificate | None = None
    if "adv" in settings.metrics or settings.estimates:
        found = attack(
            network, anchor, domain=settings.domain, effort=settings.effort,
            norm=settings.norm, seed=settings.seed, time_limit=settings.limit, progress=progress,
        )  # fmt: skip
    if "adv" in settings.metrics and found is not None:
        yield "d_adv", _attack_json(found)
        stage("d_adv", f"{found.distance:.5f}" if found.distance is not None else "none found")
        if found.witness is not None:
            points.append(("d_adv", found.witness))
    if "rob" in settings.metrics:
        proof = certify(
            network, anchor, domain=settings.domain, method=settings.method,
            norm=settings.norm, upper=None if found is None else found.distance,
            time_limit=settings.limit, progress=progress,
        )  # fmt: skip
        yield "d_rob", {"value": proof.radius, "method": proof.method, "seconds": proof.seconds}
        stage("d_rob", f"{proof.radius:.5f}")
    if "bnd" in settings.metrics:
        result = distance(
            network, anchor, domain=settings.domain, radius=settings.radius,
            time_limit=settings.limit, known_attack=found, known_certificate=proof,
            progress=progress,
        )  # fmt: skip
        yield "d_bnd", _distance_json(result)
        stage("d_bnd", interval_text(result.lower, result.upper, result.status))
        if result.witness is not None:
            points.append(("d_bnd", result.witness))
    estimates = []
    for spec in settings.estimates:
        for metric in ("rob", "bnd"):
            if metric in settings.metrics and found is not None:
                value = _estimate(network, anchor, settings, spec, metric, found, progress)
                estimates.append(value)
                shown = "collapsed" if value["value"] is None else f"{value['value']:.5f}"
                stage(f"{spec} d_{metric}", value.get("message", shown))
    yield "estimates", estimates


def _attack_json(found: Attack) -> Record:
    target = None if found.witness is None else found.witness.target
    return {"value": found.distance, "target": target, "seconds": found.seconds}


def _distance_json(result: Distance) -> Record:
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


def _estimate(
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
