"""Points that may be perturbed, and how far: anchors, domains, norms, and regions of points.

A question gives a point (`Anchor`), the box that perturbed points must stay in (`Domain`) and a
norm; a `Region` is the set of points asked about: a `Ball` around the anchor within the domain, or
a `Box` of any sides. It answers all that depends on the norm or on the ends of the box: its sides,
whether it holds a point, the smaller region (`shrunk`), the minimum of a linear row with the
rounding, the radius at which a linear bound reaches 0. Nothing outside this package compares a norm
by name. Read `base` first, then `ball` and `norms/base`.
"""

from graphprune.region.anchor import AN_ANCHOR, Anchor
from graphprune.region.ball import Ball
from graphprune.region.base import Minimum, Region
from graphprune.region.box import Box
from graphprune.region.domain import Domain
from graphprune.region.norms import (
    LINF,
    NORMS,
    Norm,
    NormName,
    WrittenGain,
    known_norms,
    norm_of,
    register_norm,
)
from graphprune.region.norms.graph import Graph

__all__ = [
    "AN_ANCHOR",
    "LINF",
    "NORMS",
    "Anchor",
    "Ball",
    "Box",
    "Domain",
    "Graph",
    "Minimum",
    "Norm",
    "NormName",
    "Region",
    "WrittenGain",
    "known_norms",
    "norm_of",
    "register_norm",
]
