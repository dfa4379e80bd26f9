"""Between results and their JSON: the values that run directories keep, the records of documents.

A value is what one task found; a record is everything about one anchor. Values of earlier versions
are read too: what they lacked has its default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from graphprune.attacks.attack import Attack
from graphprune.bounds.certify import Certificate
from graphprune.check.container import Proof
from graphprune.evaluate.at_radius import verdict
from graphprune.evaluate.distance import Distance
from graphprune.evaluate.results import (
    Answer,
    CertifiedRadius,
    Classified,
    EstimateResult,
    Failure,
    Found,
    Known,
    LayerStability,
    Points,
    ProvenDistance,
    Result,
    Task,
)
from graphprune.evaluate.settings import Metric, Settings

Record = dict[str, Any]


def value_of(result: Result) -> Record:
    """The JSON of what a task found; inverse of `restored`."""
    known = {} if result.cpu_seconds is None else {"cpu_seconds": result.cpu_seconds}
    return known | _value(result.found)


def _value(found: Found) -> Record:
    match found:
        case Attack():
            return _attack(found)
        case CertifiedRadius(certificate=certificate, layers=layers):
            counted = {} if layers is None else {"layers": [asdict(layer) for layer in layers]}
            return _certificate(certificate) | counted
        case Distance():
            return _distance(found)
        case ProvenDistance(distance=distance, seconds=seconds, searched=searched):
            more = {} if searched is None else {"uncertified_lower": searched}
            return _distance(distance) | {"proof_seconds": seconds} | more
        case EstimateResult():
            return _estimate(found)
        case Failure(message=message):
            return {"status": "error", "message": message}


def _attack(found: Attack) -> Record:
    target = None if found.witness is None else found.witness.target
    return {"value": found.distance, "target": target, "seconds": found.seconds}


def _certificate(found: Certificate) -> Record:
    return {
        "value": found.radius,
        "method": found.method,
        "complete": found.complete,
        "stopped": found.stopped,
        "seconds": found.seconds,
    }


def _distance(found: Distance) -> Record:
    return {
        "lower": found.lower,
        "upper": found.upper,
        "status": found.status,
        "target": None if found.witness is None else found.witness.target,
        "certified": found.certified,
        "nodes": found.nodes,
        "seconds": found.seconds,
    }


def _estimate(found: EstimateResult) -> Record:
    own: Record = {"spec": found.spec, "metric": found.metric.key, "value": None}
    match found.answer:
        case Failure(message=message):
            own |= {"lower": None, "upper": None, "status": "error", "message": message}
        case answer:
            own |= _answer(answer)
    return own | {"seconds": found.seconds}


def _answer(answer: Answer) -> Record:
    record: Record = {
        "value": answer.value,
        "status": answer.status,
        "lower": answer.lower,
        "upper": answer.upper,
        "neurons_left": answer.neurons_left,
        "prune_seconds": answer.prune_seconds,
        "capped": answer.capped,
        "attacked": answer.attacked,
    }
    if answer.layers_left is not None:
        record["layers_left"] = list(answer.layers_left)
    if not answer.certified:
        record["certified"] = False
    return record if answer.chosen is None else record | {"chosen": answer.chosen}


def restored(
    task: Task,
    value: Record,
    points: Points,
    settings: Settings,
    *,
    final: bool = True,
    proof: Proof | None = None,
) -> Result:
    """The result that a run directory keeps as `value` and `points`; inverse of `value_of`."""
    witness = points[0][1] if points else None
    found: Found
    if value.get("status") == "error" and "spec" not in value:
        found = Failure(value["message"])
    elif task.spec is not None:
        found = _estimated(task.spec, task.metric, value, points)
    elif task.metric is Metric.ADV:
        found = Attack(witness, value["seconds"], settings.norm)
    elif task.metric is Metric.ROB:
        layers = value.get("layers")
        found = CertifiedRadius(
            Certificate(
                value["value"], value["complete"], value["method"], value["seconds"],
                value.get("stopped", False), settings.norm, settings.radius,
                settings.target if settings.top_k == 1 else None, settings.top_k,
            ),
            None if layers is None else tuple(LayerStability(**layer) for layer in layers),
        )  # fmt: skip
    else:
        found = Distance(
            value["lower"], value["upper"], value["status"], witness,
            value.get("certified", True), value.get("nodes", 0), value["seconds"],
        )  # fmt: skip
        if "proof_seconds" in value:
            searched = value.get("uncertified_lower")
            found = ProvenDistance(found, value["proof_seconds"], searched, proof)
    return Result(found, value.get("cpu_seconds"), final)


def _estimated(spec: str, metric: Metric, value: Record, points: Points) -> EstimateResult:
    if value.get("status") == "error":
        return EstimateResult(spec, metric, Failure(value["message"]), value["seconds"])
    layers = value.get("layers_left")
    answer = Answer(
        value["value"], value["status"], lower=value["lower"], upper=value["upper"],
        certified=value.get("certified", True), neurons_left=value["neurons_left"],
        layers_left=None if layers is None else tuple(layers),
        prune_seconds=value["prune_seconds"], attacked=value.get("attacked", True),
        capped=value.get("capped", False), witness=points[0][1] if points else None,
        chosen=value.get("chosen"),
    )  # fmt: skip
    return EstimateResult(spec, metric, answer, value["seconds"])


def points_of(task: Task, result: Result) -> Points:
    """The concrete point behind a result's upper bound, named as files of points name it."""
    return [] if result.witness is None else [(task.label, result.witness)]


def start_of(start: Classified, settings: Settings) -> Record:
    """The record of an anchor before its tasks; every distance of a misclassified one is 0."""
    record: Record = {"index": start.index, "label": start.label, "predicted": start.predicted}
    record["status"] = start.status
    if start.margins:
        record["margins"] = list(start.margins)
    if start.status in ("error", "skipped"):
        record["message"] = start.message
    if start.status == "misclassified":
        zeros: dict[Metric, Record] = {
            Metric.ADV: _attack(Attack(None, 0.0)) | {"value": 0.0},
            Metric.ROB: _certificate(Certificate(0.0, False, settings.method, 0.0))
            | {"layers": []},
            Metric.BND: _distance(Distance(0.0, 0.0, "exact", None, True, 0, 0.0)),
        }
        for metric, value in zeros.items():
            if metric in settings.metrics:
                record[metric.key] = value | {"cpu_seconds": 0.0}
    return record if start.status == "ok" else record | {"estimates": []}


def read_start(record: Record) -> Classified:
    """Inverse of `start_of`."""
    return Classified(
        record["index"], record["label"], record["predicted"], record["status"],
        record.get("message"), tuple(record.get("margins", ())),
    )  # fmt: skip


def record_of(
    start: Classified, tasks: Sequence[Task], results: Mapping[Task, Result], settings: Settings
) -> Record:
    """The whole record of an anchor.

    Tasks without a result (Ctrl-C came first) are filled with what is true without them: no
    adversarial point known, nothing certified, the interval of what is known.

    Parameters
    ----------
    tasks
        Every task of the anchor, in the order of their dependencies.
    results
        Those of tasks that are done, in the order in which they were.
    """
    whole = _record(start, tasks, results, settings)
    if settings.radius is not None and start.status != "skipped":
        whole["at_radius"] = verdict(whole, settings.radius)
    return whole


def _record(
    start: Classified, tasks: Sequence[Task], results: Mapping[Task, Result], settings: Settings
) -> Record:
    whole = start_of(start, settings)
    if start.status != "ok":
        return whole
    own = [task for task in tasks if task.spec is None and task.metric in settings.metrics]
    missing = [task for task in tasks if task not in results]
    whole |= {
        task.metric.key: value_of(results[task])
        for task in own
        if task in results and results[task].failure is None
    }
    if missing or not all(r.final or r.failure for r in results.values()):
        whole["interrupted"] = True
    known = Known.of(results[task] for task in own if task in results)
    whole |= {task.metric.key: _nothing(task.metric, known, settings) for task in own
              if task in missing}  # fmt: skip
    whole["estimates"] = [
        _estimate_record(task, value_of(results[task]))
        for task in tasks
        if task.spec is not None and task in results
    ]
    for task, result in results.items():
        if task.spec is None and result.failure is not None:
            return whole | {"status": "error", "message": result.failure.message}
    return whole


def _estimate_record(task: Task, value: Record) -> Record:
    """An estimate's record; one whose task died has what tables and files look for, too."""
    empty = {"spec": task.spec, "metric": task.metric.key, "value": None}
    return empty | {"lower": None, "upper": None, "seconds": 0.0} | value


def _nothing(metric: Metric, known: Known, settings: Settings) -> Record:
    """The value of a metric that was not computed."""
    if metric is Metric.ADV:
        return _attack(Attack(None, 0.0))
    if metric is Metric.ROB:
        return _certificate(Certificate(0.0, False, settings.method, 0.0, stopped=True))
    found = known.attack or Attack(None, 0.0)
    lower = 0.0 if known.certificate is None else known.certificate.radius
    return _distance(Distance(lower, found.distance, "interval", found.witness, True, 0, 0.0))
