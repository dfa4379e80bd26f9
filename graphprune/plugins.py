"""Third-party passes, operators, norms, threat models, estimators, solvers, ...: entry points.

Each is imported once.

A distribution names a module in one of the groups; importing it registers what it holds::

    [project.entry-points."graphprune.passes"]
    halve = "acme.halve"
    [project.entry-points."graphprune.operators"]
    swish = "acme.swish"
    [project.entry-points."graphprune.norms"]
    weighted = "acme.weighted"
    [project.entry-points."graphprune.estimators"]
    share = "acme.share"
    [project.entry-points."graphprune.solvers"]
    patient = "acme.patient"
    [project.entry-points."graphprune.branching"]
    first = "acme.first"
    [project.entry-points."graphprune.threats"]
    fog = "acme.fog"
"""

import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, Literal, TypeVar

from graphprune.errors import PluginError, check_known

Group = Literal[
    "graphprune.branching",
    "graphprune.estimators",
    "graphprune.norms",
    "graphprune.operators",
    "graphprune.passes",
    "graphprune.replacements",
    "graphprune.scores",
    "graphprune.solvers",
    "graphprune.threats",
]

T = TypeVar("T")

_loaded: set[tuple[str, str]] = set()
# The search path at the last look: distributions are looked for again when it has changed.
_searched: dict[str, tuple[str, ...]] = {}


def install(group: Group) -> None:
    """Import every module that installed distributions name in `group`, each once.

    Raises
    ------
    PluginError
        A module cannot be imported; the message names the distribution that brought it.
    """
    path = tuple(sys.path)
    if _searched.get(group) == path:
        return
    for point in entry_points(group=group):
        if (group, point.value) not in _loaded:
            _load(point)
            _loaded.add((group, point.value))
    _searched[group] = path


def _load(point: EntryPoint) -> None:
    try:
        point.load()
    except Exception as error:
        brought = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise PluginError(
            f"plugin '{point.name}' ({point.value}) of distribution '{brought}' cannot be loaded:"
            f" {reason}; repair it or uninstall the distribution"
        ) from error


class Registry(Generic[T]):
    """Things of one kind by name: those of this package, and those that distributions bring.

    Parameters
    ----------
    kind
        One of them in messages, as ``solver``.
    group
        The entry points of further ones.
    """

    def __init__(self, kind: str, group: Group) -> None:
        self.kind = kind
        self.group: Group = group
        self.own: dict[str, T] = {}

    def add(self, name: str, thing: T) -> None:
        """Make a thing known by a name.

        Raises
        ------
        PluginError
            Another thing has the name.
        """
        if self.own.setdefault(name, thing) is not thing:
            raise PluginError(f"two {self.kind}s are called '{name}'")

    def known(self) -> Mapping[str, T]:
        """Everything by name, third-party things last."""
        install(self.group)
        return self.own

    def __getitem__(self, name: str) -> T:
        """Return the thing of a name.

        Raises
        ------
        GraphpruneError
            There is none; the message names the nearest one.
        """
        if name not in self.own:
            check_known(self.kind, name, self.known())
        return self.own[name]
