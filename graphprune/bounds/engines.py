"""The engines that compute bounds, and the choice among them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from graphprune.bounds.compact.engine import CompactEngine
from graphprune.bounds.graph import GraphEngine
from graphprune.bounds.interval import IntervalEngine
from graphprune.bounds.problem import BoundsProblem
from graphprune.bounds.protocol import Ascent, Engine, EngineName
from graphprune.runtime.resources import current

# The first that suits a problem computes it; the last one suits all.
ENGINES: dict[EngineName, type[Engine]] = {
    engine.name: engine for engine in (IntervalEngine, CompactEngine, GraphEngine)
}

_forced: ContextVar[EngineName | None] = ContextVar("engine", default=None)


@contextmanager
def using_engine(name: EngineName) -> Iterator[None]:
    """Compute relaxations by one engine until the block ends; each of them is sound.

    Interval bounds of a whole ReLU network stay with the engine for them.

    Parameters
    ----------
    name
        ``compact`` (compiled kernels on the CPU) or ``graph`` (ONNX Runtime).
    """
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def engine_for(problem: BoundsProblem, ascent: Ascent) -> Engine:
    """The engine that computes a problem with the current resources."""
    resources, forced = current(), _forced.get()
    for name, engine in ENGINES.items():
        asked = forced in (None, name) or name == IntervalEngine.name
        if asked and (name == forced or engine.suits(problem, resources)):
            return engine(problem, resources, ascent)
    raise AssertionError("no engine suits")
