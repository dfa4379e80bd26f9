"""The IR: a canonical ONNX graph, its segments, and the points it is asked about."""

from graphprune.ir.annotations import annotate, annotation
from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import Activation, AffineOperator, Network, Operator, Segment
from graphprune.ir.points import Anchor, Ball, Domain
from graphprune.ir.source import Layout, Source

__all__ = [
    "Activation",
    "AffineOperator",
    "Anchor",
    "Ball",
    "Domain",
    "GraphBuilder",
    "Layout",
    "Network",
    "Operator",
    "Segment",
    "Source",
    "annotate",
    "annotation",
]
