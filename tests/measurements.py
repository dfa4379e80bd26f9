"""What experiments keep, made by hand: the plan of a panel, and the records of anchors."""

from typing import Any

from graphprune.evaluate.experiment import Measured, summarise
from graphprune.evaluate.reading import read_record


def plan_of(recipe: str, domain: list[float] | list[float | None] | None) -> dict[str, Any]:
    """The plan of a d_bnd panel with one estimate, ``e``, and its search ending at 0.5."""
    return {
        "network": "n", "metric": "bnd", "recipe": recipe,
        "settings": {"radius": 0.5, "domain": domain},
        "curves": [{"title": "c", "points": [["1", "e"]]}],
    }  # fmt: skip


def record_of(index: int, exact: float, attack: float, value: float | None) -> dict[str, Any]:
    """The record of an anchor; without a value the estimate's boundary has collapsed."""
    estimate = {
        "spec": "e", "metric": "d_bnd", "value": value, "seconds": 9.0, "cpu_seconds": 0.0,
        "attacked": True, "prune_seconds": 0.5, "neurons_left": 7,
        "status": "collapsed" if value is None else "exact", "capped": value is None,
        "lower": None, "upper": None,
    }  # fmt: skip
    return {
        "index": index, "label": 0, "status": "ok",
        "d_adv": {"value": attack, "cpu_seconds": 1.0},
        "d_bnd": {"lower": exact, "upper": exact, "status": "exact", "cpu_seconds": 3.0},
        "estimates": [estimate],
    }  # fmt: skip


def measured_on(domain: list[float] | list[float | None] | None, *values: float | None) -> Measured:
    """A panel of the recipe ``best``, an anchor at distance 0.1 for every value of the estimate."""
    records = [record_of(i, 0.1, 0.1, value) for i, value in enumerate(values)]
    found = summarise(plan_of("best", domain), [read_record(record) for record in records])
    assert found is not None
    return found


def on_three_domains() -> list[Measured]:
    """The same panel on two boxes and without a domain."""
    return [measured_on(box, 0.1) for box in ([0.0, 1.0], [-1.0, 1.0], None)]
