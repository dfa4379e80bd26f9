"""Tasks: what a run consists of, and how an anchor's record is put together."""

from dataclasses import replace
from math import inf, nan
from time import monotonic
from typing import Literal

import numpy as np
import pytest

import graphprune as gp
from graphprune.attacks.attack import Attack
from graphprune.attacks.confirm import Witness
from graphprune.bounds.certify import Certificate
from graphprune.evaluate import tasks
from graphprune.evaluate.estimates import longest
from graphprune.evaluate.results import CertifiedRadius, Classified, Failure, Known, Result, Task
from graphprune.evaluate.serialise import Record, record_of, start_of, value_of
from graphprune.evaluate.settings import Metric, Settings
from graphprune.evaluate.tasks import needs, perform, tasks_of
from graphprune.region import Domain
from graphprune.runtime.resources import Resources

OK = Classified(4, 1, 1, "ok")
ADV, ROB, BND = (Task("m", 4, metric) for metric in (Metric.ADV, Metric.ROB, Metric.BND))
POINT = Witness(np.zeros(2, np.float32), 0.5, 3)
ATTACKED = Result(Attack(POINT, 0.1))
CERTIFIED = Result(CertifiedRadius(Certificate(0.2, False, "crown", 0.1)))


def assemble(results: dict[Task, Result], settings: Settings) -> Record:
    return record_of(OK, tasks_of(settings, "m", 4), results, settings)


def test_tasks_follow_their_needs() -> None:
    settings = Settings(estimates=("auto",))
    every = tasks_of(settings, "m", 4)
    assert tuple(task.name for task in every) == (
        "d_adv", "d_rob", "d_bnd", "estimate d_rob auto", "estimate d_bnd auto",
    )  # fmt: skip
    for place, task in enumerate(every):
        assert all(every.index(n) < place for n in needs(task, every))
    assert needs(BND, every) == (ADV, ROB)
    # An estimate needs the attack even where d_adv is not asked for.
    assert tasks_of(Settings(metrics=("rob",), estimates=("auto",)), "m", 4)[0] == ADV
    assert needs(BND, tasks_of(Settings(metrics=("bnd",)), "m", 4)) == ()


def test_what_is_missing_is_filled_with_what_is_true_without_it() -> None:
    settings = Settings()
    record = assemble({ADV: ATTACKED, ROB: CERTIFIED}, settings)
    assert record["interrupted"]
    assert (record["d_bnd"]["lower"], record["d_bnd"]["upper"]) == (0.2, 0.5)
    assert record["d_bnd"]["status"] == "interval"
    record = assemble({ADV: ATTACKED}, settings)
    assert (record["d_rob"]["value"], record["d_bnd"]["lower"]) == (0.0, 0.0)


def test_a_record_says_that_a_result_is_not_final() -> None:
    settings = Settings(metrics=("adv",))
    early = replace(ATTACKED, final=False)
    assert assemble({ADV: early}, settings) == {
        **start_of(OK, settings), "d_adv": value_of(ATTACKED), "interrupted": True, "estimates": [],
    }  # fmt: skip
    assert "interrupted" not in assemble({ADV: ATTACKED}, settings)


def test_an_error_keeps_the_other_metrics() -> None:
    failed = Result(Failure("out of memory"))
    record = assemble({ADV: ATTACKED, ROB: CERTIFIED, BND: failed}, Settings())
    assert (record["status"], record["message"]) == ("error", "out of memory")
    assert record["d_adv"] == value_of(ATTACKED)
    assert "d_bnd" not in record


@pytest.mark.parametrize("status", ["misclassified", "error"])
def test_a_settled_anchor_stays_as_it_is(status: Literal["misclassified", "error"]) -> None:
    start = replace(OK, status=status)
    assert record_of(start, (), {}, Settings()) == start_of(start, Settings())


def test_what_is_not_a_number_is_no_result(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the JSON of a document nor a run directory could hold it."""
    odd = Result(Attack(replace(POINT, distance=nan), 0.1))
    monkeypatch.setitem(tasks._METRICS, Metric.ADV, lambda *_: odd)
    result = perform(tiny, images[0], ADV, Settings(), Known())
    assert result.failure is not None
    assert "d_adv: ValueError" in result.failure.message


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

    monkeypatch.setitem(tasks._METRICS, Metric.ADV, starved)
    result = perform(tiny, images[0], ADV, Settings(), Known())
    assert (result.failure, result.final) == (Failure("d_adv: out of memory"), False)


def test_infinite_limits_are_none() -> None:
    settings = Settings(time_limit=inf, radius=inf)
    assert settings.numbers() == Settings().numbers()


def test_a_misclassified_anchor_has_every_field_of_others(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    settings = Settings(time_limit=60.0)
    good, bad = images[0], replace(images[0], label=(images[0].label + 1) % 10)
    (start,) = tasks.classify(tiny, [bad])
    record = start_of(start, settings)
    for task in (ADV, ROB, BND):
        known = Known.of([perform(tiny, good, ADV, settings, Known())])
        result = perform(tiny, good, task, settings, known)
        assert set(record[task.name]) == set(value_of(result))


def test_neurons_are_counted_within_the_limit(
    mnist_a: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts took minutes beyond it on large images."""
    monkeypatch.setattr(tasks, "MOMENT", -200.0)
    query = Settings(metrics=("rob",)).query(mnist_a, images[0])
    counted = tasks._stability(query, 0.01)
    found = tasks._rob(query, Settings(), Known(), Resources(deadline=monotonic() + 100)).found
    assert isinstance(found, CertifiedRadius)
    hurried = found.layers
    assert counted is not None
    assert hurried is not None
    assert [layer.neurons for layer in hurried] == [layer.neurons for layer in counted]
    assert sum(layer.unstable for layer in hurried) > sum(layer.unstable for layer in counted)
