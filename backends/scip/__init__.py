"""Exact distances as mixed-integer programs on SCIP."""

from graphprune.backends.scip.solve import TargetResult, solve_target

__all__ = ["TargetResult", "solve_target"]
