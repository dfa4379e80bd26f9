"""Constraints on a file's outputs as constraints on the scores below what was cut.

An order of two outputs is that of their scores. A threshold of one output goes through the inverse
of an increasing function (:mod:`graphprune.canonical.increasing`), rounded outward for what is to
be excluded and inward for what a point must satisfy. Functions of all scores have classes of their
own (:mod:`graphprune.backends.verify.over_classes`).
"""

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.verify.over_classes import OVER_CLASSES, OverClasses
from graphprune.canonical.increasing import inverse
from graphprune.ir import Network
from graphprune.ir.source import HeadOperator, Source
from graphprune.vnnlib import Constraint, Disjunct, Property

Floats = NDArray[np.float64]


def below_head(
    region: Disjunct, head: Sequence[HeadOperator], *, outward: bool, classes: int = 0,
    samples: Floats | None = None,
) -> Disjunct | None:  # fmt: skip
    """A region's constraints on the scores.

    Parameters
    ----------
    head
        The operators above the scores, from these upward.
    outward
        The result holds at every point where the region's constraints do; otherwise they hold
        wherever the result does.
    samples
        Scores (M, classes) near which the result should be tight.

    Returns
    -------
    Disjunct | None
        None where a constraint is not about the order of outputs or about one of them, or the
        head has no inverse number by number.
    """
    if not head:
        return region
    over = over_classes(head)
    if over is not None and outward and not _ordered(region):
        return _below(over, region, classes, samples)
    polytopes = []
    for polytope in region.polytopes:
        moved = [_moved(c, head, outward) for c in polytope]
        if None in moved:
            return None
        if False not in moved:
            polytopes.append(tuple(c for c in moved if isinstance(c, Constraint)))
    return Disjunct(region.box, tuple(polytopes))


def below_file(
    region: Disjunct, source: Source, *, outward: bool, samples: Floats | None = None
) -> Disjunct | None:
    """`below_head` for a file; None too where its output is no function of its head alone."""
    if source.dropped and not _ordered(region):
        return None
    classes = source.output_layout.size
    return below_head(region, source.head, outward=outward, classes=classes, samples=samples)


def over_classes(head: Sequence[HeadOperator]) -> OverClasses | None:
    """The function of all scores that a file ends in, where there is nothing else above them."""
    if len(head) != 1 or not head[0].over_classes or head[0].op_type not in OVER_CLASSES:
        return None
    return OVER_CLASSES[head[0].op_type](head[0].attributes)


def _ordered(region: Disjunct) -> bool:
    """True where every constraint is about the order of two outputs, or about inputs."""
    return all(c.compares or not c.terms for polytope in region.polytopes for c in polytope)


def _below(
    over: OverClasses, region: Disjunct, classes: int, samples: Floats | None
) -> Disjunct | None:
    known = np.zeros((0, classes)) if samples is None else samples
    polytopes: list[tuple[Constraint, ...]] = []
    for polytope in region.polytopes:
        found = over.below(polytope, classes, known)
        if found is None:
            return None
        polytopes += found
    return Disjunct(region.box, tuple(polytopes))


def answerable(network: Network, prop: Property) -> bool:
    """True where a property can be asked about the scores below what is cut.

    Otherwise a network that was loaded whole may answer it.
    """
    source = network.source
    if any(operator.over_classes for operator in source.head):
        return True  # no layer either: what cannot be asked is refused, with its reason
    return all(below_file(region, source, outward=True) is not None for region in prop.regions)


def _moved(
    constraint: Constraint, head: Sequence[HeadOperator], outward: bool
) -> Constraint | bool | None:
    """A constraint on the scores; True or False: it holds always or never; None: neither."""
    if constraint.compares or not constraint.terms:
        return constraint
    if constraint.inputs or len(constraint.terms) != 1:
        return None
    (j, coefficient), limit = constraint.terms[0], constraint.limit / constraint.terms[0][1]
    # The output is at most the limit, or at least.
    at_most = coefficient > 0
    ends = inverse(limit, head)
    if ends is None:
        return None
    end = ends[1] if at_most == outward else ends[0]
    if not isfinite(end):
        return (end > 0) == at_most
    sign = 1 if at_most else -1
    return Constraint(((j, Fraction(sign)),), sign * Fraction(end), constraint.strict)
