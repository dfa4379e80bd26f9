"""The canonical network: an ONNX graph of affine operators and activations, and its segments.

Model files come in, checked and with their weights in memory; networks of canonical operators are
held and rebuilt here; ONNX files go out again. Facts that analyses find are annotated on values.

Read first: ``network.py`` (operators, segments, the network), ``builder.py`` (writing ONNX graphs),
``rebuild.py`` (writing networks anew).
"""

from graphprune.ir.annotations import annotate, annotation
from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import A_NETWORK, Activation, AffineOperator, Network, Operator, Segment
from graphprune.ir.query import Query
from graphprune.ir.source import Layout, Source

__all__ = [
    "A_NETWORK",
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
