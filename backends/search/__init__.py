"""Branch and bound on the distance itself, on the condensed network of a ball.

Rungs of growing radius (`solver`, `rung`); on each one, targets (`target`) in a common tree of
split neurons (`tree`); node bounds and branching in compiled kernels (`kernels`); tighter
pre-activation bounds (`tighten`) and ideal cuts (`cuts`) where trees would grow; linear programs
at leaves (`program`, `leaf`). Several processes (`pool`, `worker`) prepare roots side by side
(`roots`) and expand a tree's cases (`crew`, `parcel`). Everything it proves carries its own
rounding margin.
"""

from graphprune.backends.search.solver import Search, opening

__all__ = ["Search", "opening"]
