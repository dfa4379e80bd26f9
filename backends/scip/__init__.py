"""Exact distances as mixed-integer programs on SCIP.

In: an interval (question, ends, closest point) and resources. Out: the interval, tightened; ends
that rest on SCIP's numerics alone are marked, those of linear programs' duals are certified.

Read first: ``backend.py`` (targets one after the other), ``formulate.py`` (the programs),
``process.py`` (SCIP in a process of its own).
"""

from graphprune.backends.scip.backend import Scip
from graphprune.backends.scip.solve import TargetResult, solve_target

__all__ = ["Scip", "TargetResult", "solve_target"]
