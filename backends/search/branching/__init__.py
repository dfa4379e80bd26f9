"""Branching rules: which neuron a node is split at. One class in one file each.

In: the bounded node, that is its relaxation, parameters and last pass. Out: a neuron, and estimates
of both children's bounds.

Read :mod:`graphprune.backends.relaxation.branching` and `strong` first.
"""

from graphprune.backends.search.branching.strong import StrongBranching

__all__ = ["StrongBranching"]
