"""Branch and bound over boxes of the input, for networks of scalar functions and few inputs.

Linear bounds of curved functions become exact as boxes shrink, so halving them decides everything
but ties.

Read first: ``solver.py`` (the distance), ``halving.py`` (which input of a box is halved).
"""

from graphprune.backends.boxes.solver import FEW, BoxSearch, by_halving, few_inputs

__all__ = ["FEW", "BoxSearch", "by_halving", "few_inputs"]
