"""Tasks: which ones a run has, and how one of them is done."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np

from graphprune.attacks.attack import Attack, closest_adversarial
from graphprune.attacks.confirm import searched, told
from graphprune.backends.protocol import RELATIVE
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.bounds.certify import Certificate, certified_radius
from graphprune.clock import processor_seconds
from graphprune.errors import GraphpruneError, OutOfTimeError
from graphprune.evaluate.distance import Distance, DistanceSettings, exact_distance
from graphprune.evaluate.estimates import estimate, estimated
from graphprune.evaluate.proofs import prove
from graphprune.evaluate.results import (
    CertifiedRadius,
    Classified,
    Failure,
    Known,
    LayerStability,
    Result,
    Task,
)
from graphprune.evaluate.serialise import value_of
from graphprune.evaluate.settings import Metric, Settings
from graphprune.ir import Network, Query
from graphprune.ir.network import activation_of
from graphprune.ir.query import Target, classes_of, own_target
from graphprune.progress import Interrupted, Progress, quiet
from graphprune.region import Anchor, Norm
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import not_finite
from graphprune.runtime.resources import Resources, using

log = logging.getLogger("graphprune")

# Anchors of one fixed-size batch: 1,000 large images are no reason for 1,000 times the memory.
BATCH = 64
# Seconds beyond the limit that counts of stable neurons may take.
MOMENT = 1.0
# Margins at the anchor are kept for so many classes.
TOLD = 100


def tasks_of(settings: Settings, model: str, index: int) -> tuple[Task, ...]:
    """The tasks of one correctly classified anchor, in the order of their dependencies."""
    wanted = [m for m in (Metric.ROB, Metric.BND) if m in settings.metrics]
    own = [Task(model, index, metric) for metric in wanted]
    estimates = [
        Task(model, index, metric, spec)
        for spec in settings.estimates
        for metric in wanted
        if metric in estimated(spec)
    ]
    first = Metric.ADV in settings.metrics or estimates
    return (*([Task(model, index, Metric.ADV)] if first else []), *own, *estimates)


def needs(task: Task, every: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks among `every` of the same anchor whose results `task` starts from."""
    before = {Metric.ADV: (), Metric.ROB: (Metric.ADV,), Metric.BND: (Metric.ADV, Metric.ROB)}
    wanted = before[task.metric] if task.spec is None else (Metric.ADV,)
    return tuple(t for t in every if t.spec is None and t.metric in wanted)


def perform(
    network: Network,
    anchor: Anchor,
    task: Task,
    settings: Settings,
    known: Known,
    progress: Progress = quiet,
) -> Result:
    """Do one task; errors become results, so that one task's surprise never costs the others.

    Parameters
    ----------
    known
        Results of the tasks it `needs`.

    Returns
    -------
    Result
        Its `cpu_seconds` are processor time of this process and its helpers, which other programs
        on the machine hardly change; where a task does more than its metric asks for, those of the
        metric.
    """
    start = processor_seconds()
    result = _performed(network, anchor, task, settings, known, progress)
    if result.cpu_seconds is not None:
        return result
    return replace(result, cpu_seconds=processor_seconds() - start)


def _performed(
    network: Network,
    anchor: Anchor,
    task: Task,
    settings: Settings,
    known: Known,
    progress: Progress,
) -> Result:
    try:
        query, resources = settings.query(network, anchor), settings.resources(progress)
    except GraphpruneError as error:
        return Result(Failure(str(error)))
    point, known = partial(told, query), known.with_points(partial(searched, query))
    try:
        if task.spec is not None:
            first = known.attack or Attack(None, 0.0, settings.norm)
            result = Result(estimate(query, settings, task.spec, task.metric, first, progress))
        else:
            limited = resources.within(settings.limit)
            result = _METRICS[task.metric](query, settings, known, limited)
        # NaN must never be kept as a result: neither documents nor stores could hold it.
        json.dumps(value_of(result), allow_nan=False)
        return result.with_point(point)
    except Interrupted as stopped:
        # The result so far is true; the task is done again when the run is resumed.
        return _unfinished(task, stopped).with_point(point)
    except GraphpruneError as error:
        return Result(Failure(str(error)))
    except MemoryError:
        # With more of it, or fewer workers, a resumed run may finish.
        return Result(Failure(f"{task.name}: out of memory"), final=False)
    except Exception as error:
        log.info("anchor %d, %s", anchor.index, task.name, exc_info=True)
        return Result(Failure(f"{task.name}: {type(error).__name__}: {error}"))


def _unfinished(task: Task, stopped: Interrupted) -> Result:
    """The result that an interrupted metric had by then; of an estimate nothing is kept."""
    match task.spec, task.metric, stopped.found:
        case None, Metric.ADV, Attack() as found:
            return Result(found, final=False)
        case None, Metric.ROB, Certificate() as certificate:
            return Result(CertifiedRadius(certificate), final=False)
        case None, Metric.BND, Distance() as distance:
            return Result(distance, final=False)
    raise stopped


def _adv(query: Query, settings: Settings, known: Known, resources: Resources) -> Result:
    return Result(closest_adversarial(query, resources, settings.attack, settings.effort))


def _rob(query: Query, settings: Settings, known: Known, resources: Resources) -> Result:
    start = processor_seconds()
    upper = None if known.attack is None else known.attack.distance
    found = certified_radius(query, resources, settings.method, upper, settings.radius)
    seconds = processor_seconds() - start
    # Counts of neurons are no reason to overrun a limit by more than a moment.
    soon = replace(resources, deadline=resources.deadline + MOMENT)
    with using(soon):
        return Result(CertifiedRadius(found, _stability(query, found.radius)), seconds)


def _stability(query: Query, radius: float) -> tuple[LayerStability, ...] | None:
    """Per activation layer, how many neurons are on, off or neither over the certified ball.

    Neurons whose bounds time was too short for may be called neither; None where it was over
    before any layer had bounds.
    """
    network = query.network
    try:
        layers = pre_activation_bounds(network, Boxes.of(query.ball(radius)))
    except OutOfTimeError:
        return None
    counts = []
    for activation, layer in zip(network.activations, layers, strict=True):
        lower, upper = layer.lower[0], layer.upper[0]
        live = network.live(activation)
        broken = live & activation_of(activation).piecewise_linear
        on, off = (lower >= 0) & broken, (upper <= 0) & (lower < 0) & broken
        masks = (live, on, off, live & ~on & ~off)
        counts.append(LayerStability(*(int(mask.sum()) for mask in masks)))
    return tuple(counts)


def _bnd(query: Query, settings: Settings, known: Known, resources: Resources) -> Result:
    before = known.interval
    asked = DistanceSettings(
        settings.radius, settings.solver,
        gap=RELATIVE if settings.gap is None else settings.gap, record=settings.certificate,
        attack=_closer(known.attack, before, query.norm),
        certificate=_further(known.certificate, before, query.norm),
    )  # fmt: skip
    found = exact_distance(query, resources, asked)
    if before is not None:
        found = replace(
            found, nodes=before.nodes + found.nodes, seconds=before.seconds + found.seconds
        )
    if not settings.certificate:
        return Result(found)
    # The proof has a time limit of its own: the search may have used up this one.
    own = settings.resources(resources.progress).within(settings.limit)
    try:
        return Result(prove(query, found, own))
    except KeyboardInterrupt:
        raise Interrupted(replace(found, trace=None)) from None


def _closer(attack: Attack | None, before: Distance | None, norm: Norm) -> Attack | None:
    """The attack, or the point of the interval so far where that is closer."""
    point = None if before is None else before.witness
    if before is None or point is None:
        return attack
    nearer = attack is None or attack.distance is None or point.distance < attack.distance
    return Attack(point, before.seconds, norm) if nearer else attack


def _further(
    certificate: Certificate | None, before: Distance | None, norm: Norm
) -> Certificate | None:
    """The certificate, or the lower end of the interval so far where that proves more."""
    if before is None or not before.certified:
        return certificate
    if certificate is not None and certificate.radius >= before.lower:
        return certificate
    return Certificate(before.lower, False, "search", before.seconds, norm=norm)


_METRICS: dict[Metric, Callable[[Query, Settings, Known, Resources], Result]] = {
    Metric.ADV: _adv,
    Metric.ROB: _rob,
    Metric.BND: _bnd,
}


def classify(
    network: Network, anchors: Sequence[Anchor], target: Target = None, top_k: int = 1
) -> list[Classified]:
    """Where the network puts every anchor, and so whether there is anything to do.

    Parameters
    ----------
    target
        The only class that counts as adversarial, or several: an anchor of it, and of no other,
        cannot be asked about.
    top_k
        An anchor is rightly classified where its label is among so many best classes.
    """
    found: list[Classified] = []
    for start in range(0, len(anchors), BATCH):
        part = anchors[start : start + BATCH]
        logits = run_original(network, np.stack([a.x for a in part]))
        found += [
            _classified(network, a, row, target, top_k) for a, row in zip(part, logits, strict=True)
        ]
    return found


def _classified(
    network: Network, anchor: Anchor, logits: np.ndarray, target: Target, top_k: int
) -> Classified:
    predicted = int(np.argmax(logits))
    if not np.all(np.isfinite(logits)):
        message = not_finite(network, anchor.x)
        return Classified(anchor.index, anchor.label, predicted, "error", message)
    if classes_of(target) == (anchor.label,):
        message = own_target(anchor.label)
        return Classified(anchor.index, anchor.label, predicted, "skipped", message)
    right = np.sum(logits > logits[anchor.label]) < top_k
    wide = logits.astype(np.float64)
    margins = tuple((wide[anchor.label] - wide).tolist()) if len(wide) <= TOLD else ()
    status: Literal["ok", "misclassified"] = "ok" if right else "misclassified"
    return Classified(anchor.index, anchor.label, predicted, status, margins=margins)
