"""Jobs, tasks and results of a run, as objects; nothing here knows their JSON.

The other files of this package import this one, and it imports none of theirs but the settings,
the distance and the certificate's own types.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from graphprune.attacks.attack import Attack
from graphprune.attacks.confirm import Witness
from graphprune.bounds.certify import Certificate
from graphprune.check.container import Proof
from graphprune.errors import OutputError
from graphprune.evaluate.asked import as_asked
from graphprune.evaluate.distance import Distance, recorded_text
from graphprune.evaluate.settings import Metric
from graphprune.ir import Network
from graphprune.notebook import table
from graphprune.number_text import number_text
from graphprune.region import Anchor

EstimateStatus = Literal["ok", "exact", "interval", "collapsed"]
# (metric, point) pairs: the concrete points behind upper bounds.
Points = list[tuple[str, Witness]]


@dataclass(frozen=True, eq=False)
class Job:
    """One network and its anchors."""

    network: Network
    anchors: Sequence[Anchor]


@dataclass(frozen=True)
class Task:
    """A run's unit of work: one metric of one anchor, or one estimate of that metric.

    Attributes
    ----------
    model
        sha256 of the model file.
    index
        The anchor's position in its file.
    metric
        The metric computed or estimated.
    spec
        The estimate's text; None for the metric of the network itself.
    """

    model: str
    index: int
    metric: Metric
    spec: str | None = None

    @property
    def label(self) -> str:
        """``d_bnd``, or ``d_bnd SPEC``: how points and progress lines call it."""
        return self.metric.key if self.spec is None else f"{self.metric.key} {self.spec}"

    @property
    def name(self) -> str:
        """``d_bnd``, or ``estimate d_bnd SPEC``: how run directories and events call it."""
        return self.label if self.spec is None else f"estimate {self.label}"


@dataclass(frozen=True)
class Classified:
    """The start of every anchor's record: its prediction, and whether there is anything to do.

    An anchor of the only class that counts as adversarial is ``skipped``.

    Attributes
    ----------
    margins
        f_y - f_t at the anchor for every class t; empty where there are too many classes to tell.
    """

    index: int
    label: int
    predicted: int
    status: Literal["ok", "misclassified", "skipped", "error"]
    message: str | None = None
    margins: tuple[float, ...] = ()


@dataclass(frozen=True)
class Failure:
    """An error in the place of a result."""

    message: str


@dataclass(frozen=True)
class LayerStability:
    """Counts of an activation layer's live neurons by their sign over the certified ball.

    Smooth activations are unstable, whatever their sign.
    """

    neurons: int
    active: int
    inactive: int
    unstable: int


@dataclass(frozen=True, eq=False)
class CertifiedRadius:
    """d_rob, and per activation layer what is stable; None where the search was interrupted."""

    certificate: Certificate
    layers: tuple[LayerStability, ...] | None = None


@dataclass(frozen=True, eq=False)
class ProvenDistance:
    """d_bnd with the lower end that a certificate proves.

    Attributes
    ----------
    distance
        Its `lower` is what the certificate shows.
    seconds
        Wall time of the proof.
    searched
        The search's lower end, where the certificate shows less.
    proof
        The certificate's part; None where the run was not asked for it again.
    """

    distance: Distance
    seconds: float
    searched: float | None
    proof: Proof | None


@dataclass(frozen=True, eq=False)
class Answer:
    """An estimate, and what is proven.

    Attributes
    ----------
    value
        The estimate. None for a d_bnd when the substitute has no boundary within the search limit,
        or when nothing was found in time.
    status
        ``ok``, or how the metric of the substitute ended: ``exact``, ``interval`` (stopped by a
        limit; the value is the upper end of its d_bnd, the lower end of its d_rob), ``collapsed``
        (no boundary found).
    lower, upper
        Proven bounds of the network's own metric; None where nothing is proven.
    certified
        False where `lower` rests on a solver's numerics.
    neurons_left
        Neurons of the substitute.
    layers_left
        The same for each of the network's activation layers; None where there is no substitute.
    prune_seconds
        Wall time of making the substitute.
    attacked
        True where the attack on the network was needed, so that its seconds count.
    capped
        The search ended at a limit before it met the substitute's boundary.
    witness
        The confirmed adversarial point behind `upper`.
    chosen
        The estimator that `auto` took.
    """

    value: float | None
    status: EstimateStatus = "ok"
    lower: float | None = None
    upper: float | None = None
    certified: bool = True
    neurons_left: int = 0
    layers_left: tuple[int, ...] | None = None
    prune_seconds: float = 0.0
    attacked: bool = True
    capped: bool = False
    witness: Witness | None = None
    chosen: str | None = None


@dataclass(frozen=True, eq=False)
class EstimateResult:
    """The answer of an estimator, or the reason why there is none.

    Attributes
    ----------
    seconds
        Wall time, with that of the attack where the estimate needed it.
    """

    spec: str
    metric: Metric
    answer: Answer | Failure
    seconds: float


Found = Attack | CertifiedRadius | Distance | ProvenDistance | EstimateResult | Failure


@dataclass(frozen=True, eq=False)
class Result:
    """The result of a task.

    Attributes
    ----------
    cpu_seconds
        Processor seconds of the metric or estimate, where they are known.
    final
        False when Ctrl-C ended it early, or the machine gave out: a resumed run computes it again.
    """

    found: Found
    cpu_seconds: float | None = None
    final: bool = True

    @property
    def failure(self) -> Failure | None:
        """The error that this result is."""
        found = self.found.answer if isinstance(self.found, EstimateResult) else self.found
        return found if isinstance(found, Failure) else None

    @property
    def witness(self) -> Witness | None:
        """The concrete point behind the result's upper bound."""
        match self.found:
            case Attack(witness=point) | Distance(witness=point):
                return point
            case ProvenDistance(distance=distance):
                return distance.witness
            case EstimateResult(answer=Answer(witness=point)):
                return point
        return None

    def with_point(self, change: Callable[[Witness], Witness]) -> "Result":
        """The same with the concrete point behind it, if there is one, changed."""
        found = self.found
        if isinstance(found, Attack | Distance):
            return replace(self, found=found.with_point(change))
        if not isinstance(found, EstimateResult) or not isinstance(found.answer, Answer):
            return self
        answer = found.answer
        if answer.witness is None:
            return self
        return replace(
            self, found=replace(found, answer=replace(answer, witness=change(answer.witness)))
        )

    @property
    def proof(self) -> Proof | None:
        """The proof of a d_bnd, where a certificate is asked for."""
        return self.found.proof if isinstance(self.found, ProvenDistance) else None


@dataclass(frozen=True, eq=False)
class Outcome:
    """The results of a run.

    Attributes
    ----------
    documents
        One document of the public contract per job.
    keyed_points
        (model hash, anchor index, metric, witness): the concrete points behind the upper bounds.
    interrupted
        Ctrl-C ended it early.
    failure
        Why results could not be kept in the run directory; None when they could.
    proofs
        (model hash, proof) of every d_bnd, where certificates are asked for.
    """

    documents: list[dict[str, Any]]
    keyed_points: list[tuple[str, int, str, Witness]]
    interrupted: bool
    failure: OutputError | None = None
    proofs: Sequence[tuple[str, Proof]] = ()

    @property
    def incomplete(self) -> bool:
        """Some anchor ended in an error or a d_bnd in a wider interval than asked (exit code 1)."""
        return any(
            record["status"] == "error"
            or ("d_bnd" in record and not _complete(record["d_bnd"], document["settings"]))
            for document in self.documents
            for record in document["anchors"]
        )

    def _repr_html_(self) -> str:
        """Show a table per network in a notebook."""
        return "".join(map(_as_table, self.documents))


def _complete(found: dict[str, Any], settings: dict[str, Any]) -> bool:
    return as_asked(found["lower"], found["upper"], found["status"], settings)


def _as_table(found: dict[str, Any]) -> str:
    metrics = [f"d_{m}" for m in ("rob", "bnd", "adv") if m in found["settings"]["metrics"]]
    rows = [
        [r["index"], r["label"], r["status"], *(_cell(r.get(metric)) for metric in metrics)]
        for r in found["anchors"]
    ]
    name = found["model"]["path"] or "network"
    return table(("anchor", "class", "status", *metrics), rows, str(name))


def _cell(value: dict[str, Any] | None) -> str:
    if value is None:
        return ""
    if "lower" in value:
        return recorded_text(value)
    return "none" if value["value"] is None else number_text(value["value"])


@dataclass(frozen=True, eq=False)
class Known:
    """The results of other tasks that a task starts from, and its own interval so far."""

    attack: Attack | None = None
    certificate: Certificate | None = None
    interval: Distance | None = None

    @classmethod
    def of(cls, results: Iterable[Result]) -> "Known":
        """The attack and the certificate among results."""
        attack, certificate = None, None
        for result in results:
            if isinstance(result.found, Attack):
                attack = result.found
            elif isinstance(result.found, CertifiedRadius):
                certificate = result.found.certificate
        return cls(attack, certificate)

    def with_points(self, change: Callable[[Witness], Witness]) -> "Known":
        """The same with all points changed."""
        attack = None if self.attack is None else self.attack.with_point(change)
        interval = None if self.interval is None else self.interval.with_point(change)
        return replace(self, attack=attack, interval=interval)
