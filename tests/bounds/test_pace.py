"""Portions of work between two looks at the clock, on a clock that work alone moves."""

import numpy as np
import pytest

import graphprune as gp
from graphprune.bounds import Ascent, Boxes, linear_bounds, pre_activation_bounds
from graphprune.bounds.compact import layout, optimise, pace
from graphprune.bounds.compact.layout import compact
from graphprune.bounds.compact.pace import FASTER, SECONDS, UNITS, Pace
from graphprune.errors import OutOfTimeError
from graphprune.runtime import resources
from graphprune.runtime.resources import Resources, using
from graphprune.transforms.matrix import SegmentMatrix, composed
from tests.conftest import MODELS


class Clock:
    """Seconds that are told to it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of everything that bounds look at."""
    clock = Clock()
    for module in (pace, resources):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.mark.parametrize("cost", [1e-9, 1e-3, 0.02, 3.0])
def test_portions_are_as_large_as_time_allows(cost: float, clock: Clock) -> None:
    done, took = 0, []
    for part in Pace(512).portions(5000):
        assert (part.start, part.stop <= 5000) == (done, True)
        done, before = part.stop, clock.now
        clock.now += cost * (part.stop - part.start)
        took.append(clock.now - before)
    assert done == 5000
    assert max(took) <= max(SECONDS, cost) + 1e-9
    # They grow up to that, so that the work is not cut into more parts than it must be.
    assert len(took) <= 10 + 5000 / min(512, max(1, SECONDS / cost / FASTER))


def test_no_portion_begins_after_the_deadline(clock: Clock) -> None:
    with using(Resources(deadline=10.0)):
        for _ in Pace(1 << 20).portions(1 << 20):
            assert clock.now < 10.0
            clock.now += 3.0
        assert clock.now == 12.0
        assert not list(Pace(5).portions(5))
        assert list(Pace(5, UNITS / 2).portions(5, sure=True)) == [slice(0, 2)]


def test_optimised_bounds_look_at_the_clock_between_steps(
    mnist_a: gp.Network, images: list[gp.Anchor], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step of a row takes a second: one step of the batch goes beyond the limit at most."""
    monkeypatch.setattr(pace, "UNITS", 1)
    network, boxes = mnist_a, Boxes.of(images[0].ball(0.04, gp.Domain()))
    layers = pre_activation_bounds(network, boxes)
    rows = np.eye(network.classes)
    plain = linear_bounds(network, boxes, layers, rows)
    whole = linear_bounds(network, boxes, layers, rows, "alpha-crown", ascent=Ascent(6))
    calls: list[tuple[int, int]] = []
    kernel = optimise.ascend

    def slow(*arguments: object) -> int:
        batch = arguments[-2]
        assert isinstance(batch, optimise.AscentState)
        calls.append((batch.first, batch.last))
        clock.now += batch.width * (batch.last - batch.first)
        left: int = kernel(*arguments)  # type: ignore[arg-type]
        return left

    monkeypatch.setattr(optimise, "ascend", slow)
    with using(Resources(deadline=clock.now + 2.5 * len(rows))):
        some = linear_bounds(network, boxes, layers, rows, "alpha-crown", ascent=Ascent(6))
    assert calls == [(0, 1), (1, 2), (2, 3)]
    assert np.all(plain <= some)
    assert np.all(some <= whole)
    # In time, the pieces are the same as all steps at once, to the last bit.
    same = linear_bounds(network, boxes, layers, rows, "alpha-crown", ascent=Ascent(6))
    assert np.array_equal(same, whole)


def test_a_layout_that_time_ends_goes_on_from_there(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = gp.load(MODELS / "mnist-a.onnx")
    made: list[int] = []

    def slow(network: gp.Network, index: int) -> SegmentMatrix:
        made.append(index)
        clock.now += 1.0
        return composed(network, index)

    monkeypatch.setattr(layout, "composed", slow)
    monkeypatch.setattr(layout, "LIGHT", 0)
    with using(Resources(deadline=1.5)), pytest.raises(OutOfTimeError):
        compact(network)
    assert len(made) == 2
    whole = compact(network)
    assert made == list(range(len(network.segments)))
    assert compact(network) is whole
    assert len(made) == len(network.segments)
