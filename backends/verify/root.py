"""Bounds on the whole box: what they exclude needs no search."""

import numpy as np

from graphprune.backends.verify.goals import boxes_of
from graphprune.backends.verify.problem import Problem
from graphprune.backends.verify.rows import UNIT
from graphprune.bounds.entry import linear_bounds, pre_activation_bounds


def close_at_root(problem: Problem) -> Problem:
    """The problem without the polytopes that CROWN bounds over the whole box exclude."""
    if problem.polytopes == 0:
        return problem
    boxes = boxes_of(problem)
    layers = pre_activation_bounds(problem.network, boxes, "crown")
    rows = problem.weights.astype(np.float32)
    bounds = linear_bounds(problem.network, boxes, layers, rows, "crown")[0]
    # Coefficients that float32 cannot hold would need a margin; their polytopes stay.
    exact = np.all(rows == problem.weights, axis=1)
    limits = problem.limits + 4 * UNIT * np.abs(problem.limits)
    excluded = exact & (bounds > limits)
    open_ = [
        p
        for p in range(problem.polytopes)
        if not excluded[problem.first[p] : problem.first[p + 1]].any()
    ]
    return problem.only(open_)
