"""Tasks: what a run consists of, and how an anchor's record is put together."""

from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest

import graphprune as gp
from graphprune.evaluate import tasks
from graphprune.evaluate.estimates import longest
from graphprune.evaluate.settings import Settings
from graphprune.evaluate.tasks import Result, assemble, names, needs, perform
from graphprune.region import Domain

ADV = Result({"value": 0.5, "target": 3, "seconds": 0.1}, [])
ROB = Result({"value": 0.2, "method": "crown", "complete": False, "seconds": 0.1}, [])
OK: dict[str, Any] = {"index": 4, "label": 1, "predicted": 1, "status": "ok"}


def test_tasks_follow_their_needs() -> None:
    settings = Settings(estimates=("auto",))
    every = names(settings)
    assert every == ("d_adv", "d_rob", "d_bnd", "estimate d_rob auto", "estimate d_bnd auto")
    for place, name in enumerate(every):
        assert all(every.index(n) < place for n in needs(name, every))
    assert needs("d_bnd", every) == ("d_adv", "d_rob")
    # An estimate needs the attack even where d_adv is not asked for.
    assert names(Settings(metrics=("rob",), estimates=("auto",)))[0] == "d_adv"
    assert needs("d_bnd", names(Settings(metrics=("bnd",)))) == ()


def test_what_is_missing_is_filled_with_what_is_true_without_it() -> None:
    settings = Settings()
    record = assemble(OK, {"d_adv": ADV, "d_rob": ROB}, settings)
    assert record["interrupted"]
    assert (record["d_bnd"]["lower"], record["d_bnd"]["upper"]) == (0.2, 0.5)
    assert record["d_bnd"]["status"] == "interval"
    record = assemble(OK, {"d_adv": ADV}, settings)
    assert (record["d_rob"]["value"], record["d_bnd"]["lower"]) == (0.0, 0.0)


def test_a_record_says_that_a_result_is_not_final() -> None:
    settings = Settings(metrics=("adv",))
    early = Result(ADV.value, [], final=False)
    assert assemble(OK, {"d_adv": early}, settings) == {
        **OK, "d_adv": ADV.value, "interrupted": True, "estimates": [],
    }  # fmt: skip
    assert "interrupted" not in assemble(OK, {"d_adv": ADV}, settings)


def test_an_error_keeps_the_other_metrics() -> None:
    failed = Result({"status": "error", "message": "out of memory"}, [])
    record = assemble(OK, {"d_adv": ADV, "d_rob": ROB, "d_bnd": failed}, Settings())
    assert (record["status"], record["message"]) == ("error", "out of memory")
    assert record["d_adv"] == ADV.value
    assert "d_bnd" not in record


@pytest.mark.parametrize("status", ["misclassified", "error"])
def test_a_settled_anchor_stays_as_it_is(status: str) -> None:
    record = {**OK, "status": status}
    assert assemble(record, {}, Settings()) == record


def test_what_is_not_a_number_is_no_result(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the JSON of a document nor a run directory could hold it."""
    odd = replace(ADV, value={**ADV.value, "value": nan})
    monkeypatch.setitem(tasks._METRICS, "d_adv", lambda *_: odd)
    result = perform(tiny, images[0], "d_adv", Settings(), {})
    assert result.failed
    assert "d_adv: ValueError" in result.value["message"]


@pytest.mark.parametrize("ends", [(0.0, 1.0), (-inf, inf), (0.0, inf), (-inf, 2.0)])
def test_settings_come_back_from_json_with_their_domain(ends: tuple[float, float]) -> None:
    settings = Settings(domain=Domain(*ends))
    assert Settings.from_json(settings.to_json()) == settings


def test_domains_with_one_end_are_others_than_none() -> None:
    numbers = [Settings(domain=Domain(low, inf)).numbers() for low in (0.0, -inf)]
    assert numbers[0] != numbers[1]


def test_a_worker_waits_for_the_limit_of_the_plain_milp() -> None:
    assert longest(Settings(time_limit=10.0)) == 10.0
    spec = "milp{seconds=600}"
    assert longest(Settings(time_limit=10.0, estimates=("auto", spec))) == 600.0


def test_what_memory_did_not_suffice_for_is_tried_again(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def starved(*_: object) -> Result:
        raise MemoryError

    monkeypatch.setitem(tasks._METRICS, "d_adv", starved)
    result = perform(tiny, images[0], "d_adv", Settings(), {})
    assert (result.failed, result.final) == (True, False)
    assert result.value["message"] == "d_adv: out of memory"


def test_infinite_limits_are_none() -> None:
    settings = Settings(time_limit=inf, radius=inf)
    assert settings.numbers() == Settings().numbers()


def test_a_misclassified_anchor_has_every_field_of_others(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    settings = Settings(time_limit=60.0)
    good, bad = images[0], replace(images[0], label=(images[0].label + 1) % 10)
    (record,) = tasks.classify(tiny, [bad], settings)
    for name in ("d_adv", "d_rob", "d_bnd"):
        known = {"d_adv": perform(tiny, good, "d_adv", settings, {})}
        assert set(record[name]) == set(perform(tiny, good, name, settings, known).value)
