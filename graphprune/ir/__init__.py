"""The IR: a canonical ONNX graph, its segments, and the points it is asked about."""

from graphprune.ir.annotations import annotate, annotation
from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import Activation, AffineOperator, Network, Operator, Segment
from graphprune.ir.points import NORMS, Anchor, Ball, Box, Domain, Norm, Region
from graphprune.ir.source import Layout, Source

__all__ = [
    "NORMS",
    "Activation",
    "AffineOperator",
    "Anchor",
    "Ball",
    "Box",
    "Domain",
    "GraphBuilder",
    "Layout",
    "Network",
    "Norm",
    "Operator",
    "Region",
    "Segment",
    "Source",
    "annotate",
    "annotation",
]
