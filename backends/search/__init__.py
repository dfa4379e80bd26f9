"""Branch and bound on the distance itself, on the condensed network of a ball.

In: an interval of the distance, and resources. Out: the interval, tightened; points go to it as
they are found, and a trace of the proof where one is asked for. Steps of growing radius (`solver`,
`radius_step`) each tighten the roots of their targets (`root_tightening`) and prove each in a tree
of split neurons (`tree`, `node`), which begins with the cases of the step before (`cases`), with a
branching rule (`branching`) and tuning constants (`settings`). Where that takes longer than a
moment, worker processes help (`scheduler`, `worker_group`, `process_pool`, `work_units`, `worker`).
Bounds are those of :mod:`graphprune.backends.relaxation`, and carry their own rounding margin.

Read `solver`, `radius_step` and `tree` first.
"""

from graphprune.backends.search.solver import Search, first_attempt

__all__ = ["Search", "first_attempt"]
