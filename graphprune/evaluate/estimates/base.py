"""The estimator protocol, and the registry of estimators."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from graphprune.attacks.attack import Attack
from graphprune.evaluate.results import Answer
from graphprune.evaluate.settings import Metric, Settings
from graphprune.ir import Network, Query
from graphprune.plugins import Registry
from graphprune.region import Anchor
from graphprune.runtime.resources import Resources


@dataclass(frozen=True, eq=False)
class EstimateQuery:
    """A metric of a network at an anchor, to be estimated.

    Attributes
    ----------
    found
        The attack on the network. What the same run found about d_bnd is never told.
    resources
        Its deadline is that of the estimate.
    """

    query: Query
    metric: Metric
    settings: Settings
    found: Attack
    resources: Resources

    @property
    def network(self) -> Network:
        """The network that is asked about."""
        return self.query.network

    @property
    def anchor(self) -> Anchor:
        """The point that is asked about."""
        return self.query.anchor

    @property
    def remaining(self) -> float:
        """Seconds that are left; never negative."""
        return max(self.resources.remaining(), 0.0)


class Estimator(Protocol):
    """A frozen dataclass: its fields are its options.

    Attributes
    ----------
    name
        The name by which an estimate's text asks for it.
    metrics
        The metrics it can estimate.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]

    def run(self, asked: EstimateQuery) -> Answer:
        """Estimate the metric that is asked for.

        Raises
        ------
        GraphpruneError
            There is no estimate; the message becomes the record's.
        """
        ...


@runtime_checkable
class SelfLimited(Protocol):
    """An estimator with a time limit of its own, in seconds, in place of the run's."""

    @property
    def seconds(self) -> float: ...


ESTIMATORS: Registry[type[Estimator]] = Registry("estimator", "graphprune.estimators")

E = TypeVar("E", bound=type[Estimator])


def register_estimator(cls: E) -> E:
    """Make an estimator known by its name.

    Raises
    ------
    PluginError
        Another estimator has the name.
    """
    ESTIMATORS.add(cls.name, cls)
    return cls
