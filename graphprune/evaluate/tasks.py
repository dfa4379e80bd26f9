"""A run's unit of work: one metric or estimate of one anchor of one network."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from graphprune.attacks.attack import Attack, closest_adversarial
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.bounds.certify import Certificate, certified_radius
from graphprune.check.container import Proof
from graphprune.clock import processor_seconds
from graphprune.errors import GraphpruneError
from graphprune.evaluate.anchor import Points, Record, attack_json, certificate_json, distance_json
from graphprune.evaluate.distance import Distance, distance, interval_text
from graphprune.evaluate.documents import estimate_text
from graphprune.evaluate.estimates import Metric, estimate, estimated
from graphprune.evaluate.settings import Settings
from graphprune.ir import Network, Query
from graphprune.ir.network import activation_of
from graphprune.progress import Interrupted, Progress, quiet
from graphprune.region import Anchor, Norm
from graphprune.runtime.original import run_original

log = logging.getLogger("graphprune")

ESTIMATE = "estimate"


@dataclass(frozen=True)
class Task:
    """What is to be computed.

    Attributes
    ----------
    model
        sha256 of the model file.
    index
        The anchor's position in its file.
    name
        ``d_adv``, ``d_rob``, ``d_bnd``, or ``estimate METRIC SPEC``.
    """

    model: str
    index: int
    name: str


@dataclass(frozen=True, eq=False)
class Result:
    """What a task found.

    Attributes
    ----------
    value
        Its part of the JSON document; ``{"status": "error", "message": ...}`` after an error.
    points
        (metric, witness) pairs: the concrete points behind its upper bounds.
    final
        False when Ctrl-C ended it early, or the machine gave out: a resumed run computes it again.
    proof
        Of a d_bnd, where a certificate is asked for.
    """

    value: Record
    points: Points
    final: bool = True
    proof: Proof | None = None

    @property
    def failed(self) -> bool:
        return self.value.get("status") == "error"


def names(settings: Settings) -> tuple[str, ...]:
    """The tasks of one correctly classified anchor, in the order of their dependencies."""
    wanted = [f"d_{m}" for m in ("rob", "bnd") if m in settings.metrics]
    estimates = [
        f"{ESTIMATE} d_{metric} {spec}"
        for spec in settings.estimates
        for metric in ("rob", "bnd")
        if metric in settings.metrics and metric in estimated(spec)
    ]
    first = ["d_adv"] if "adv" in settings.metrics or estimates else []
    return (*first, *wanted, *estimates)


def needs(name: str, every: tuple[str, ...]) -> tuple[str, ...]:
    """The tasks among `every` of the same anchor whose results `name` starts from."""
    before = {"d_adv": (), "d_rob": ("d_adv",), "d_bnd": ("d_adv", "d_rob")}
    return tuple(n for n in before.get(name, ("d_adv",)) if n in every)


def perform(
    network: Network,
    anchor: Anchor,
    name: str,
    settings: Settings,
    known: Mapping[str, Result],
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
        Its value has ``cpu_seconds`` too: processor time of this process and its helpers,
        which other programs on the machine hardly change. Where a task does more than its
        metric asks for, that of the metric.
    """
    start = processor_seconds()
    result = _performed(network, anchor, name, settings, known, progress)
    return replace(result, value={"cpu_seconds": processor_seconds() - start} | result.value)


def _performed(
    network: Network,
    anchor: Anchor,
    name: str,
    settings: Settings,
    known: Mapping[str, Result],
    progress: Progress,
) -> Result:
    try:
        if name.startswith(ESTIMATE):
            result = _estimate(network, anchor, name, settings, known, progress)
        else:
            result = _METRICS[name](network, anchor, settings, known, progress)
        # NaN must never be kept as a result: neither documents nor stores could hold it.
        json.dumps(result.value, allow_nan=False)
        return result
    except Interrupted as stopped:
        # What is found is true; the task is done again when the run is resumed.
        return _unfinished(name, stopped)
    except GraphpruneError as error:
        return Result({"status": "error", "message": str(error)}, [])
    except MemoryError:
        # With more of it, or fewer workers, a resumed run may finish.
        return Result({"status": "error", "message": f"{name}: out of memory"}, [], final=False)
    except Exception as error:
        log.info("anchor %d, %s", anchor.index, name, exc_info=True)
        message = f"{name}: {type(error).__name__}: {error}"
        return Result({"status": "error", "message": message}, [])


def _unfinished(name: str, stopped: Interrupted) -> Result:
    if name == "d_adv" and isinstance(stopped.found, Attack):
        return Result(attack_json(stopped.found), _points(stopped.found), final=False)
    if name == "d_rob" and isinstance(stopped.found, Certificate):
        return Result(certificate_json(stopped.found), [], final=False)
    if name == "d_bnd" and isinstance(stopped.found, Distance):
        witness = stopped.found.witness
        points = [] if witness is None else [("d_bnd", witness)]
        return Result(distance_json(stopped.found), points, final=False)
    raise stopped


def _points(found: Attack) -> Points:
    return [] if found.witness is None else [("d_adv", found.witness)]


def _adv(
    network: Network, anchor: Anchor, s: Settings, known: Mapping[str, Result], progress: Progress
) -> Result:
    query = Query(network, anchor, s.domain, s.norm, s.seed)
    resources = s.resources(progress).within(s.limit)
    found = closest_adversarial(query, resources, s.attack, s.effort)
    return Result(attack_json(found), _points(found))


def _rob(
    network: Network, anchor: Anchor, s: Settings, known: Mapping[str, Result], progress: Progress
) -> Result:
    found = _attack_of(known, s.norm)
    start = processor_seconds()
    query = Query(network, anchor, s.domain, s.norm, s.seed)
    resources = s.resources(progress).within(s.limit)
    upper = None if found is None else found.distance
    proof = certified_radius(query, resources, s.method, upper)
    value = certificate_json(proof) | {"cpu_seconds": processor_seconds() - start}
    return Result(value | {"layers": _stability(network, anchor, proof, s)}, [])


def _stability(
    network: Network, anchor: Anchor, proof: Certificate, s: Settings
) -> list[dict[str, int]]:
    """Per activation layer, how many neurons are on, off or neither over the certified ball.

    Smooth activations are neither, whatever their sign.
    """
    ball = anchor.ball(proof.radius, s.domain, s.norm)
    layers = pre_activation_bounds(network, Boxes.of(ball))
    counts = []
    for activation, layer in zip(network.activations, layers, strict=True):
        lower, upper = layer.lower[0], layer.upper[0]
        alive = network.live(activation)
        kinked = alive & activation_of(activation).piecewise_linear
        on, off = (lower >= 0) & kinked, (upper <= 0) & (lower < 0) & kinked
        masks = {"neurons": alive, "active": on, "inactive": off, "unstable": alive & ~on & ~off}
        counts.append({name: int(mask.sum()) for name, mask in masks.items()})
    return counts


def _bnd(
    network: Network, anchor: Anchor, s: Settings, known: Mapping[str, Result], progress: Progress
) -> Result:
    result = distance(
        network, anchor, domain=s.domain, radius=s.radius, solver=s.solver,
        time_limit=s.limit, threads=s.threads, workers=s.workers, memory=s.memory,
        known_attack=_attack_of(known, s.norm),
        known_certificate=_certificate_of(known, s.norm), record=s.certificate, progress=progress,
    )  # fmt: skip
    points: Points = [] if result.witness is None else [("d_bnd", result.witness)]
    if not s.certificate:
        return Result(distance_json(result), points)
    from graphprune.evaluate.proofs import prove

    try:
        proof, value = prove(network, anchor, result, s, progress)
    except KeyboardInterrupt:
        raise Interrupted(result) from None
    return Result(value, points, proof=proof)


def _estimate(
    network: Network,
    anchor: Anchor,
    name: str,
    settings: Settings,
    known: Mapping[str, Result],
    progress: Progress,
) -> Result:
    _, metric, spec = name.split(" ", 2)
    found = _attack_of(known, settings.norm) or Attack(None, 0.0, settings.norm)
    kind: Metric = "rob" if metric == "d_rob" else "bnd"
    value, witness = estimate(network, anchor, settings, spec, kind, found, progress)
    return Result(value, [] if witness is None else [(f"{metric} {spec}", witness)])


_METRICS: dict[str, Callable[..., Result]] = {"d_adv": _adv, "d_rob": _rob, "d_bnd": _bnd}


def _attack_of(known: Mapping[str, Result], norm: Norm) -> Attack | None:
    result = known.get("d_adv")
    if result is None or result.failed:
        return None
    witness = result.points[0][1] if result.points else None
    return Attack(witness, result.value["seconds"], norm)


def _certificate_of(known: Mapping[str, Result], norm: Norm) -> Certificate | None:
    result = known.get("d_rob")
    if result is None or result.failed:
        return None
    v = result.value
    stopped = v.get("stopped", False)  # runs of earlier versions do not say
    return Certificate(v["value"], v["complete"], v["method"], v["seconds"], stopped, norm)


def classify(network: Network, anchors: list[Anchor], settings: Settings) -> list[Record]:
    """The start of every anchor's record: its prediction, and whether there is anything to do."""
    records: list[Record] = []
    # One fixed-size batch at a time: 1,000 large images are no reason for 1,000 times the memory.
    for start in range(0, len(anchors), 64):
        part = anchors[start : start + 64]
        logits = run_original(network, np.stack([a.x for a in part]))
        records += [_classified(a, row, settings) for a, row in zip(part, logits, strict=True)]
    return records


def _classified(anchor: Anchor, logits: np.ndarray, settings: Settings) -> Record:
    record: Record = {"index": anchor.index, "label": anchor.label}
    record["predicted"] = int(np.argmax(logits))
    if not np.all(np.isfinite(logits)):
        message = "the network's logits at the anchor are not finite"
        return record | {"status": "error", "message": message, "estimates": []}
    if logits[anchor.label] < logits.max():
        return record | _misclassified(settings)
    return record | {"status": "ok"}


def _misclassified(settings: Settings) -> Record:
    """Every distance of a misclassified anchor is 0."""
    zeros: dict[str, Record] = {
        "adv": attack_json(Attack(None, 0.0)) | {"value": 0.0},
        "rob": certificate_json(Certificate(0.0, False, settings.method, 0.0)) | {"layers": []},
        "bnd": distance_json(Distance(0.0, 0.0, "exact", None, True, 0, 0.0)),
    }
    chosen = {f"d_{m}": v | {"cpu_seconds": 0.0} for m, v in zeros.items() if m in settings.metrics}
    return {"status": "misclassified", **chosen, "estimates": []}


def text(name: str, result: Result) -> str:
    """What progress lines say of a result."""
    v = result.value
    if result.failed:
        return str(v["message"])
    if name == "d_bnd":
        return interval_text(v["lower"], v["upper"], v["status"])
    if name.startswith(ESTIMATE):
        return estimate_text(v)
    if v["value"] is None:
        return "none found"
    return f"{v['value']:.5f}{' (out of time)' if v.get('stopped') else ''}"


def assemble(record: Record, results: Mapping[str, Result], settings: Settings) -> Record:
    """The whole record of an anchor.

    Tasks without a result (Ctrl-C came first) are filled with what is true without them: no
    adversarial point known, nothing certified, the interval of what is known.
    """
    if record["status"] != "ok":
        return record
    whole = dict(record)
    every = names(settings)
    for name in every:
        if name == "d_adv" and "adv" not in settings.metrics:
            continue
        if not name.startswith(ESTIMATE) and name in results and not results[name].failed:
            whole[name] = results[name].value
    missing = [name for name in every if name not in results]
    if missing or not all(result.final or result.failed for result in results.values()):
        whole["interrupted"] = True
    for name in missing:
        if name in ("d_adv", "d_rob", "d_bnd") and name.removeprefix("d_") in settings.metrics:
            whole[name] = _nothing_known(name, whole, settings)
    whole["estimates"] = [
        _estimate_record(name, results[name].value)
        for name in every
        if name.startswith(ESTIMATE) and name in results
    ]
    failed = [r for n, r in results.items() if r.failed and not n.startswith(ESTIMATE)]
    if failed:
        whole |= {"status": "error", "message": failed[0].value["message"]}
    return whole


def _estimate_record(name: str, value: Record) -> Record:
    """An estimate's record; one whose task died has what tables and files look for, too."""
    _, metric, spec = name.split(" ", 2)
    empty = {"spec": spec, "metric": metric, "value": None, "lower": None, "upper": None}
    return empty | {"seconds": 0.0} | value


def _nothing_known(name: str, known: Record, settings: Settings) -> Record:
    if name == "d_adv":
        return attack_json(Attack(None, 0.0))
    if name == "d_rob":
        return certificate_json(Certificate(0.0, False, settings.method, 0.0, stopped=True))
    upper, lower = known.get("d_adv", {}), known.get("d_rob", {}).get("value", 0.0)
    nothing = Distance(lower, upper.get("value"), "interval", None, True, 0, 0.0)
    return distance_json(nothing) | {"target": upper.get("target")}
