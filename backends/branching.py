"""Branching rules by name: the search with rule NAME is the solver ``search:NAME``.

Other distributions add theirs by the entry points ``graphprune.branching``.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from graphprune import plugins
from graphprune.errors import GraphpruneError, check_known

if TYPE_CHECKING:
    from graphprune.backends.relaxation.branching import BranchingRule

# Functions that make each rule; kernels are imported only when one is asked for.
_RULES: "dict[str, Callable[[], BranchingRule]]" = {}


def register_branching(name: str, make: "Callable[[], BranchingRule]") -> None:
    """Make a branching rule known by a name.

    Raises
    ------
    GraphpruneError
        Another rule has the name.
    """
    if _RULES.setdefault(name, make) is not make:
        raise GraphpruneError(f"two branching rules are called '{name}'")


def branching_rules() -> tuple[str, ...]:
    """The names of every branching rule, the search's own first."""
    plugins.install("graphprune.branching")
    return tuple(_RULES)


def branching_rule(name: str) -> "BranchingRule":
    """The rule of a name.

    Raises
    ------
    GraphpruneError
        There is none; the message names the nearest one.
    """
    check_known("branching rule", name, branching_rules())
    return _RULES[name]()


def _strong() -> "BranchingRule":
    from graphprune.backends.search.branching import StrongBranching

    return StrongBranching()


register_branching("strong", _strong)
