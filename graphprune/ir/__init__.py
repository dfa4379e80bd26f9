"""The IR: a canonical ONNX graph, its segments, and the points it is asked about."""

from graphprune.ir.annotations import annotate, annotation
from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import Activation, AffineOperator, Network, Operator, Segment
from graphprune.ir.points import NORMS, Anchor, Ball, Domain, Norm
from graphprune.ir.source import Layout, Source

__all__ = [
    "NORMS",
    "Activation",
    "AffineOperator",
    "Anchor",
    "Ball",
    "Domain",
    "GraphBuilder",
    "Layout",
    "Network",
    "Norm",
    "Operator",
    "Segment",
    "Source",
    "annotate",
    "annotation",
]
