"""Exact distances as mixed-integer programs on SCIP."""

from graphprune.backends.scip.backend import Scip
from graphprune.backends.scip.solve import TargetResult, solve_target

__all__ = ["Scip", "TargetResult", "solve_target"]
