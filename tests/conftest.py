"""Shared fixtures, Hypothesis profiles, and the selection of quick tests.

`HYPOTHESIS_PROFILE=thorough` tries ten times as many examples, `fast` a quarter; tests named in
``slow.txt`` take half a second of processor time or more and are left out by ``-m "not slow"``.
"""

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import graphprune as gp

if TYPE_CHECKING:
    from graphprune.evaluate.experiment import Measured

MODELS = Path(__file__).parent.parent / "models"

_COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}
settings.register_profile("quick", max_examples=40, **_COMMON)  # type: ignore[arg-type]
settings.register_profile("thorough", max_examples=400, **_COMMON)  # type: ignore[arg-type]
settings.register_profile("fast", max_examples=10, **_COMMON)  # type: ignore[arg-type]
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

SLOW = frozenset(Path(__file__).with_name("slow.txt").read_text(encoding="utf-8").split())

# Files that end processes by signals, or limit their memory, in ways that Windows has not.
if os.name == "nt":
    collect_ignore = [
        "backends/search/test_pool.py",
        "backends/test_race.py",
        "backends/test_scip_process.py",
        "evaluate/test_faults.py",
        "ir/test_hostile.py",
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ``slow.txt`` names."""
    for item in items:
        if getattr(item, "originalname", item.name) in SLOW:
            item.add_marker("slow")


# A shell that starts the suite in the background lets it ignore Ctrl-C, and so all its children:
# tests that press it need Python's own answer.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny() -> gp.Network:
    return gp.load(MODELS / "mnist-tiny.onnx")


@pytest.fixture(scope="session")
def mnist_a() -> gp.Network:
    return gp.load(MODELS / "mnist-a.onnx")


@pytest.fixture(scope="session")
def images() -> list[gp.Anchor]:
    return gp.load_anchors(MODELS / "mnist-test-100.npz")


@pytest.fixture(params=["compact", "graph"])
def engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways of computing bounds."""
    from graphprune.bounds import using_engine

    with using_engine(request.param):
        yield


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, list[Measured]]":
    """The folder of a small experiment, to be copied by who adds to it, and its one panel."""
    from graphprune.evaluate.experiment import Experiment, Panel, read_experiment
    from graphprune.evaluate.settings import Metric

    out = tmp_path_factory.mktemp("experiment")
    experiment = Experiment(out, MODELS, anchors=2, time_limit=60.0, milp=1)
    toy = Panel("toy-2d", Metric.BND, "toy-2d-anchors.npz")
    for outcome in experiment.run(toy, "best", gp.Domain()):
        assert not outcome.interrupted
    return out, read_experiment(out)


@pytest.fixture(scope="session")
def truth() -> Path:
    """Networks and verdicts from elsewhere; not part of the repository."""
    folder = os.environ.get("GRAPHPRUNE_TRUTH")
    if not folder or not Path(folder).is_dir():
        pytest.skip("GRAPHPRUNE_TRUTH names no folder")
    return Path(folder)


class Floor:
    """A count of what a property has looked at, over all its examples, and the least it may be."""

    def __init__(self) -> None:
        self.count = self.least = 0
        self.kinds: set[object] = set()

    def checked(self, count: int, *, least: int) -> None:
        """Count facts of one example; all examples together must have `least` of them."""
        self.count += int(count)
        self.least = least

    def met(self, kinds: Iterable[object], *, least: int) -> None:
        """Count kinds of things, each of them once; all examples together must meet `least`."""
        self.kinds.update(kinds)
        self.count, self.least = len(self.kinds), least


@pytest.fixture
def floor() -> Iterator[Floor]:
    """For properties that may pass without having looked at anything: here they fail then."""
    ours = Floor()
    yield ours
    share = min(1.0, settings.default.max_examples / 40) if settings.default else 1.0
    assert ours.count >= share * ours.least > 0, f"only {ours.count} facts were checked"


def random_points(
    network: gp.Network, count: int = 6, seed: int = 0, low: float = 0.0, high: float = 1.0
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(low, high, (count, *network.input_shape)).astype(np.float32)
