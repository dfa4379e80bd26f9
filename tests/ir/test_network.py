"""Segments, layouts, and the public names."""

import subprocess
import sys

import networkx as nx
from hypothesis import given

import graphprune as gp
from graphprune.ir.network import pre_activation
from graphprune.testing import networks


@given(networks())
def test_segments_cover_the_graph(network: gp.Network) -> None:
    targets = [s.target for s in network.segments]
    assert targets == [*(pre_activation(a) for a in network.activations), network.output]
    graph = network.segment_graph
    assert nx.is_directed_acyclic_graph(graph)
    seen = {id(n) for s in network.segments for n in s.nodes} | {id(a) for a in network.activations}
    assert seen == {id(n) for n in network.nodes}


def test_public_names_are_frozen_and_importable() -> None:
    assert sorted(gp.__all__) == [
        "Anchor", "AnchorError", "Attack", "Ball", "Box", "BrokenPromiseError", "Certificate",
        "Distance", "Domain", "Evaluation", "GraphpruneError", "Interrupted", "Network", "Pipeline",
        "PipelineResult", "PreActivationBounds", "Witness", "__version__", "as_classifier", "attack", "certify", "distance",
        "evaluate", "from_proto", "from_torch", "hidden_bounds", "load", "load_anchors", "save", "to_proto", "with_margin",
    ]  # fmt: skip
    for name in gp.__all__:
        assert getattr(gp, name) is not None


def test_import_is_light() -> None:
    """Heavy libraries are loaded when they are needed; torch never."""
    code = (
        "import sys, graphprune, graphprune.cli;"
        "print([m for m in ('onnx', 'onnxruntime', 'scipy', 'torch', 'pyscipopt', 'networkx')"
        " if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_network_is_told_in_one_line(tiny: gp.Network) -> None:
    said = repr(tiny)
    assert "\n" not in said
    assert said.endswith(
        "mnist-tiny.onnx: input (1, 28, 28), 10 classes, 348 neurons (346 living), 2294 parameters>"
    )
