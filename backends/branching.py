"""Branching rules by name: the search with rule NAME is the solver ``search:NAME``.

Other distributions add theirs by the entry points ``graphprune.branching``.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from graphprune.plugins import Registry

if TYPE_CHECKING:
    from graphprune.backends.relaxation.branching import BranchingRule

# Functions that make each rule; kernels are imported only when one is asked for.
BRANCHING: "Registry[Callable[[], BranchingRule]]" = Registry(
    "branching rule", "graphprune.branching"
)


def register_branching(name: str, make: "Callable[[], BranchingRule]") -> None:
    """Make a branching rule known by a name.

    Raises
    ------
    PluginError
        Another rule has the name.
    """
    BRANCHING.add(name, make)


def _strong() -> "BranchingRule":
    from graphprune.backends.search.branching import StrongBranching

    return StrongBranching()


register_branching("strong", _strong)
