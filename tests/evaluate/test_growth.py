"""Which finished tasks are open, and which settings a run may change."""

from math import inf
from typing import Any

import pytest

from graphprune.evaluate.growth import Spent, goes_on, grown, refused
from graphprune.evaluate.results import Task
from graphprune.evaluate.settings import Metric, Settings

SHORT, LONG, HARD = Spent(1.0, 0), Spent(9.0, 0), Spent(1.0, 2)
NEVER, LONGER, EITHER = (), (LONG,), (LONG, HARD)


@pytest.mark.parametrize(
    ("metric", "spec", "value", "open_for"),
    [
        ("bnd", None, {"status": "exact"}, NEVER),
        ("bnd", None, {"status": "robust"}, NEVER),
        ("bnd", None, {"status": "interval"}, EITHER),
        ("bnd", None, {"status": "error"}, NEVER),
        ("rob", None, {"stopped": False}, NEVER),
        ("rob", None, {"stopped": True}, LONGER),
        ("adv", None, {"seconds": 0.1}, (HARD,)),
        ("adv", None, {"seconds": 0.95}, EITHER),
        ("bnd", "nearest", {"status": "ok"}, NEVER),
        ("bnd", "nearest", {"status": "interval"}, LONGER),
    ],
)
def test_what_is_open_goes_on(
    metric: str, spec: str | None, value: dict[str, Any], open_for: tuple[Spent, ...]
) -> None:
    task = Task("hash", 0, Metric(metric), spec)
    for now in (SHORT, LONG, HARD):
        assert goes_on(task, value, SHORT, now, closed=False) == (now in open_for)
        assert not goes_on(task, value, LONG, SHORT, closed=False)
    if metric == "adv":
        assert not any(goes_on(task, value, SHORT, now, closed=True) for now in (LONG, HARD))


def test_a_run_has_the_settings_of_all_calls() -> None:
    first = Settings(metrics=("bnd",), estimates=("nearest",), time_limit=9.0).to_json()
    second = Settings(metrics=("adv",), estimates=("milp",), time_limit=1.0, effort="thorough")
    both = grown(first, second.to_json())
    assert both["metrics"] == ["adv", "bnd"]
    assert both["estimates"] == ["nearest", "milp"]
    assert (both["time_limit"], both["effort"]) == (9.0, "thorough")
    assert grown(both, Settings().to_json())["time_limit"] is None
    assert Spent.of(Settings().to_json()) == Spent(inf, 1)
    assert not refused(first, second.to_json())
    other = Settings(seed=1, method="fastlin", metrics=("rob",)).to_json()
    assert refused(first, other) == ["method", "seed"]
