"""Growing runs: a later call adds to one, goes on with some of it, and must not change the rest.

A run directory is one set of numbers. Other metrics, estimates and anchors add to it. A longer time
limit, or a higher effort of the attack, goes on with what was open: what is exact, proven robust or
finished within its limit stays as it is. Everything else in the settings would make other numbers
of finished ones, and is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Self

from graphprune.attacks.attack import STAGES
from graphprune.evaluate.results import Task
from graphprune.evaluate.settings import METRICS, Metric, Settings

# Settings of a run that a later call may change.
GROWING = ("metrics", "estimates", "time_limit", "effort")
# An attack that took this share of its limit was stopped by it.
STOPPED = 0.9

Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Spent:
    """The work that a task was given: seconds of its limit, and the effort of the attack."""

    time_limit: float
    level: int

    @classmethod
    def of(cls, numbers: Numbers) -> Self:
        """Those of a run's settings as JSON; no limit is an infinite one."""
        limit = numbers.get("time_limit")
        return cls(inf if limit is None else float(limit), _level(numbers.get("effort")))


def _level(effort: str | None) -> int:
    return list[str](STAGES).index(effort or Settings.effort)


def refused(known: Numbers, wanted: Numbers, *, grows: bool = True) -> list[str]:
    """Names of settings that differ and would change finished numbers; or all that differ."""
    free = GROWING if grows else ()
    names = sorted(set(known) | set(wanted))
    return [name for name in names if name not in free and known.get(name) != wanted.get(name)]


def grown(known: Numbers, wanted: Numbers) -> dict[str, Any]:
    """The settings of a run after a call with other ones: all metrics and estimates, the most time.

    Parameters
    ----------
    known, wanted
        Settings as JSON that differ in nothing that is `refused`.
    """
    both = {*known.get("metrics", METRICS), *wanted["metrics"]}
    longest = max(known, wanted, key=lambda one: Spent.of(one).time_limit)
    most = max(known, wanted, key=lambda one: Spent.of(one).level)
    return {
        **wanted,
        "metrics": [metric for metric in METRICS if metric in both],
        "estimates": list(dict.fromkeys([*known.get("estimates", ()), *wanted["estimates"]])),
        "time_limit": longest.get("time_limit"),
        "effort": most.get("effort", Settings.effort),
    }


def is_closed(value: Mapping[str, Any]) -> bool:
    """True of the d_bnd of a record that no more time improves."""
    return value.get("status") in ("exact", "robust")


def goes_on(
    task: Task, value: Mapping[str, Any], before: Spent, now: Spent, *, closed: bool
) -> bool:
    """True where a finished task is open still, and is asked for with more time or effort.

    Parameters
    ----------
    value
        The task's result as JSON.
    before, now
        The work that it was given, and that is asked for.
    closed
        The anchor's d_bnd is known: a better attack is of no use.
    """
    longer, harder = now.time_limit > before.time_limit, now.level > before.level
    if value.get("status") == "error" or not (longer or harder):
        return False
    if task.spec is not None:
        return longer and value.get("status") == "interval"
    if task.metric is Metric.ROB:
        return longer and bool(value.get("stopped"))
    if task.metric is Metric.BND:
        return not is_closed(value)
    stopped = value.get("seconds", 0.0) >= STOPPED * before.time_limit
    return not closed and (harder or (longer and stopped))
