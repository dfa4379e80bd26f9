"""What an estimator is asked, and what it answers."""

from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, ClassVar, Literal, Protocol

from graphprune.attacks.attack import Attack
from graphprune.attacks.confirm import Witness
from graphprune.evaluate.settings import Settings
from graphprune.ir import Network, Query
from graphprune.progress import Progress
from graphprune.region import Anchor
from graphprune.runtime.resources import Resources

Metric = Literal["rob", "bnd"]
Status = Literal["ok", "exact", "interval", "collapsed"]


@dataclass(frozen=True, eq=False)
class Question:
    """A metric of a network at an anchor.

    Attributes
    ----------
    found
        The attack on the network. What the same run found about d_bnd is never told.
    deadline
        On the clock of :func:`time.monotonic`.
    """

    network: Network
    anchor: Anchor
    metric: Metric
    settings: Settings
    found: Attack
    progress: Progress
    deadline: float

    @property
    def query(self) -> Query:
        s = self.settings
        return Query(self.network, self.anchor, s.domain, s.norm, s.seed)

    @property
    def resources(self) -> Resources:
        return replace(self.settings.resources(self.progress), deadline=self.deadline)

    @property
    def remaining(self) -> float:
        return max(self.deadline - monotonic(), 0.0)


@dataclass(frozen=True, eq=False)
class Answer:
    """An estimate, and what is proven.

    Attributes
    ----------
    value
        The estimate. None for a d_bnd when the stand-in has no boundary within the search limit, or
        when nothing was found in time.
    status
        ``ok``, or how the metric of the stand-in ended: ``exact``, ``interval`` (stopped by a
        limit; the value is the upper end of its d_bnd, the lower end of its d_rob), ``collapsed``
        (no boundary found).
    lower, upper
        Proven bounds of the network's own metric; None where nothing is proven.
    certified
        False where `lower` rests on a solver's numerics.
    neurons_left
        Neurons of the stand-in.
    layers_left
        The same for each of the network's activation layers; None where there is no stand-in.
    prune_seconds
        What making the stand-in took.
    attacked
        Whether the attack on the network was needed, so that its seconds count.
    capped
        The search ended at a limit before it met the stand-in's boundary.
    witness
        The confirmed point behind `upper`.
    chosen
        The estimator that `auto` took.
    """

    value: float | None
    status: Status = "ok"
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

    def to_json(self) -> dict[str, Any]:
        """As an element of ``estimates`` of the document."""
        record: dict[str, Any] = {
            "value": self.value, "status": self.status, "lower": self.lower, "upper": self.upper,
            "neurons_left": self.neurons_left, "prune_seconds": self.prune_seconds,
            "capped": self.capped, "attacked": self.attacked,
        }  # fmt: skip
        if self.layers_left is not None:
            record["layers_left"] = list(self.layers_left)
        if not self.certified:
            record["certified"] = False
        return record if self.chosen is None else record | {"chosen": self.chosen}


class Estimator(Protocol):
    """A frozen dataclass: its fields are its options, `metrics` what it can estimate."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]

    def run(self, question: Question) -> Answer: ...
