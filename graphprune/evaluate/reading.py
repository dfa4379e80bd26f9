"""Documents as objects: what tables, pages and figures read.

One reader beside the one serialiser (:mod:`graphprune.evaluate.serialise`): whatever a record lacks
because it was not asked for, or an earlier version did not write it, has its default here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from graphprune.evaluate.results import LayerStability
from graphprune.number_text import interval_text, number_text

Json = Mapping[str, Any]


@dataclass(frozen=True)
class AttackRecord:
    """d_adv: the distance of the closest adversarial point found, None without one.

    Here as below, `seconds` are wall time, `cpu_seconds` processor time.
    """

    value: float | None
    target: int | None
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class RadiusRecord:
    """d_rob, and per activation layer what is stable on its ball."""

    value: float | None
    stopped: bool
    layers: tuple[LayerStability, ...]
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class DistanceRecord:
    """d_bnd: its two ends, and whether the lower one is certified."""

    lower: float
    upper: float | None
    status: str
    certified: bool
    target: int | None
    seconds: float
    cpu_seconds: float

    @property
    def text(self) -> str:
        """The interval as tables write it."""
        return interval_text(self.lower, self.upper, self.status, certified=self.certified)


@dataclass(frozen=True)
class EstimateRecord:
    """An estimate of a metric; the `message` says why it has no value.

    The other fields are those of :class:`graphprune.evaluate.results.Answer`.
    """

    spec: str
    metric: str
    value: float | None
    status: str
    lower: float | None
    upper: float | None
    certified: bool
    neurons_left: float | None
    layers_left: tuple[int, ...] | None
    message: str | None
    prune_seconds: float
    attacked: bool
    capped: bool
    seconds: float
    cpu_seconds: float

    @property
    def name(self) -> str:
        """The name of its column, or of its line among the stages."""
        return f"{self.metric} by {self.spec}"

    @property
    def text(self) -> str:
        """The estimate as tables write it: an interval where both ends are proven."""
        if self.status in ("collapsed", "error") or self.value is None:
            return self.status
        if self.lower is not None and self.upper is not None:
            return interval_text(self.lower, self.upper, self.status, certified=self.certified)
        if self.status != "interval":
            return number_text(self.value)
        return f"{'>=' if self.metric == 'd_rob' else '<='} {number_text(self.value)}"


@dataclass(frozen=True)
class AnchorRecord:
    """Everything that was found for one anchor; metrics that were not asked for are None.

    Attributes
    ----------
    status
        ``ok``, ``misclassified``, ``error`` (with a `message`), or ``skipped``: of the only class
        that counts as adversarial, so that nothing can be asked about it.
    interrupted
        Some of its tasks were not done.
    at_radius
        The verdict at the radius that was asked for.
    margins
        f_y - f_t at the anchor for every class t; empty where they were not kept.
    """

    index: int
    label: int
    predicted: int | None
    status: str
    message: str | None
    interrupted: bool
    at_radius: str | None
    adv: AttackRecord | None
    rob: RadiusRecord | None
    bnd: DistanceRecord | None
    estimates: tuple[EstimateRecord, ...]
    margins: tuple[float, ...] = ()

    @property
    def finished(self) -> bool:
        """All of its tasks are done, without an error."""
        return self.status == "ok" and not self.interrupted

    @property
    def metrics(self) -> tuple[AttackRecord | RadiusRecord | DistanceRecord, ...]:
        """Metrics of the network itself, as far as they were asked for."""
        return tuple(part for part in (self.adv, self.rob, self.bnd) if part is not None)

    @property
    def seconds(self) -> float:
        """Computing time of everything."""
        return float(sum(part.seconds for part in (*self.metrics, *self.estimates)))

    @property
    def nearest(self) -> int | None:
        """The class of the closest adversarial point known."""
        found = (part.target for part in (self.bnd, self.adv) if part is not None)
        return next((target for target in found if target is not None), None)

    @property
    def flat(self) -> dict[str, Any]:
        """The record in one level, as flat tables have it."""
        about = ("index", "label", "predicted", "status", "message")
        row: dict[str, Any] = {key: getattr(self, key) for key in about}
        row["interrupted"] = self.interrupted or None
        if self.at_radius is not None:
            row["at_radius"] = self.at_radius
        adv, rob = self.adv, self.rob
        row |= {
            "d_adv": None if adv is None else adv.value,
            "d_adv_target": None if adv is None else adv.target,
            "d_rob": None if rob is None else rob.value,
            "d_rob_stopped": None if rob is None else rob.stopped or None,
        }
        for part in ("lower", "upper", "status", "certified", "target"):
            row[f"d_bnd_{part}"] = None if self.bnd is None else getattr(self.bnd, part)
        for estimate in self.estimates:
            row |= {estimate.name: estimate.value, f"{estimate.name}: status": estimate.status}
        return row | {"seconds": self.seconds}

    @property
    def ends(self) -> tuple[float, float]:
        """The largest proven lower bound, and the smallest known upper bound; inf where none.

        A lower end that rests on a solver's numerics is not proven, as in
        :func:`graphprune.evaluate.at_radius.verdict`.
        """
        if self.status == "misclassified":
            return 0.0, 0.0
        adv, rob = (None if part is None else part.value for part in (self.adv, self.rob))
        lower, upper = (None, None) if self.bnd is None else (self.bnd.lower, self.bnd.upper)
        if self.bnd is not None and not self.bnd.certified:
            lower = None
        return max(0.0, rob or 0.0, lower or 0.0), min(
            (end for end in (adv, upper) if end is not None), default=inf
        )


@dataclass(frozen=True)
class SummaryRecord:
    """Counts of anchors, and means and medians over those that are finished.

    Attributes
    ----------
    at_radius
        The accuracy at the radius that was asked for, as
        :func:`graphprune.evaluate.at_radius.accuracy` tells it; None without one.
    skipped
        Anchors of the target class, which count in no accuracy.
    """

    anchors: int
    ok: int
    misclassified: int
    error: int
    exact: int
    mean: Mapping[str, float]
    median: Mapping[str, float]
    seconds: float
    at_radius: dict[str, Any] | None
    skipped: int = 0


@dataclass(frozen=True)
class ModelRecord:
    """The network that a document is about."""

    path: str | None
    sha256: str
    neurons: int
    parameters: int


@dataclass(frozen=True)
class DocumentRecord:
    """Everything found on one network; the settings are shown as they are."""

    model: ModelRecord
    settings: Json
    anchors: tuple[AnchorRecord, ...]
    summary: SummaryRecord

    @property
    def metrics(self) -> Sequence[str]:
        """The metrics asked for, without their prefix."""
        metrics: Sequence[str] = self.settings["metrics"]
        return metrics

    @property
    def radius(self) -> float | None:
        """The radius asked for."""
        radius: float | None = self.settings.get("radius")
        return radius


def counting(settings: Mapping[str, Any]) -> str | None:
    """Say which inputs count as adversarial; None: those where another class wins."""
    target = settings.get("target")
    if target is not None:
        only = [target] if isinstance(target, int) else sorted(set(target))
        return f"where class {' or '.join(map(str, only))} wins"
    if settings.get("top_k", 1) > 1:
        return f"where the label is not among the {settings['top_k']} best classes"
    return None


def read_document(document: Json) -> DocumentRecord:
    """Return a document of one model as an object."""
    model, summary = document["model"], document["summary"]
    return DocumentRecord(
        ModelRecord(
            model["path"], model.get("sha256", ""), model["neurons"], model["parameters"]
        ),
        document["settings"],
        tuple(read_record(record) for record in document["anchors"]),
        SummaryRecord(**{"at_radius": None} | summary),
    )  # fmt: skip


def read_record(record: Json) -> AnchorRecord:
    """Return an anchor's record as an object."""
    adv, rob, bnd = (record.get(name) for name in ("d_adv", "d_rob", "d_bnd"))
    return AnchorRecord(
        record["index"], record["label"], record.get("predicted"), record["status"],
        record.get("message"), "interrupted" in record, record.get("at_radius"),
        None if adv is None else AttackRecord(adv["value"], adv.get("target"), *_seconds(adv)),
        None if rob is None else _radius(rob),
        None if bnd is None else _distance(bnd),
        tuple(map(read_estimate, record.get("estimates", ()))), tuple(record.get("margins", ())),
    )  # fmt: skip


def _radius(rob: Json) -> RadiusRecord:
    layers = tuple(LayerStability(**layer) for layer in rob.get("layers", ()))
    return RadiusRecord(rob["value"], rob.get("stopped", False), layers, *_seconds(rob))


def _distance(bnd: Json) -> DistanceRecord:
    return DistanceRecord(
        bnd["lower"], bnd["upper"], bnd["status"], bnd.get("certified", True), bnd.get("target"),
        *_seconds(bnd),
    )  # fmt: skip


def read_estimate(estimate: Json) -> EstimateRecord:
    """Return an estimate's record as an object."""
    layers = estimate.get("layers_left")
    return EstimateRecord(
        estimate["spec"], estimate["metric"], estimate["value"], estimate.get("status", "ok"),
        estimate.get("lower"), estimate.get("upper"), estimate.get("certified", True),
        estimate.get("neurons_left"), None if layers is None else tuple(layers),
        estimate.get("message"), estimate.get("prune_seconds", 0.0), estimate.get("attacked", True),
        estimate.get("capped", False), *_seconds(estimate),
    )  # fmt: skip


def _seconds(value: Json) -> tuple[float, float]:
    """Wall and processor time; the former where the latter was not measured."""
    seconds = value.get("seconds", 0.0)
    return seconds, value.get("cpu_seconds", seconds)
