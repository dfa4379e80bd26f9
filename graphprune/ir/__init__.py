"""The IR: a canonical ONNX graph, its segments, and facts annotated on its values."""

from graphprune.ir.annotations import annotate, annotation
from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import Activation, AffineOperator, Network, Operator, Segment
from graphprune.ir.query import Query
from graphprune.ir.source import Layout, Source

__all__ = [
    "Activation",
    "AffineOperator",
    "GraphBuilder",
    "Layout",
    "Network",
    "Operator",
    "Query",
    "Segment",
    "Source",
    "annotate",
    "annotation",
]
