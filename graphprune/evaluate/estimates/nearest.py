"""d_bnd by an attack of the estimate's own, without any substitute.

With few unstable neurons a polished attack misses the distance by some thousandths, in less time
than building one substitute takes.
"""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.attacks.attack import Effort, closest_adversarial
from graphprune.evaluate.estimates.base import EstimateQuery, register_estimator
from graphprune.evaluate.results import Answer, EstimateStatus
from graphprune.evaluate.settings import Metric


@register_estimator
@dataclass(frozen=True)
class Nearest:
    """The closest point that descent and polishing find, whatever attack the run itself uses.

    An attack of the same kind and effort is not run twice.
    """

    name: ClassVar[str] = "nearest"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric.BND,)

    effort: Effort = "fast"

    def run(self, asked: EstimateQuery) -> Answer:
        s = asked.settings
        known = (s.attack, s.effort) == ("descent", self.effort)
        found = asked.found
        if not known:
            found = closest_adversarial(asked.query, asked.resources, effort=self.effort)
        over = found.witness is None and asked.remaining <= 0
        if over:  # what the run's own attack found is true as well
            known, found = True, asked.found
        status: EstimateStatus = "ok"
        if found.witness is None:
            status = "interval" if over else "collapsed"
        return Answer(
            found.distance, status, upper=found.distance,
            neurons_left=asked.network.live_neurons, attacked=known,
            capped=status == "collapsed", witness=found.witness,
        )  # fmt: skip
