"""The paper's figures: which there are, and what stands on them."""

from pathlib import Path

import graphprune as gp
from graphprune.evaluate.experiment import Measured
from graphprune.report.figures import (
    regions_figure,
    replacements_figure,
    runtime_figure,
    write_figures,
)
from tests.conftest import MODELS
from tests.measurements import measured_on


def toy(index: int) -> tuple[gp.Network, gp.Anchor]:
    network = gp.load(MODELS / "toy-2d.onnx")
    return network, gp.load_anchors(MODELS / "toy-2d-anchors.npz", network)[index]


def test_every_figure_is_a_file(measured: tuple[Path, list[Measured]], tmp_path: Path) -> None:
    _, panels = measured
    files = write_figures(panels, toy(0), tmp_path, ["svg"])
    names = [f.name for f in files]
    assert names == ["figure-1.svg", "figure-2.svg", "figure-3-best-0-1.svg"]
    text = (tmp_path / "figure-3-best-0-1.svg").read_text()
    for shown in ("toy-2d, d_bnd", "0.75", "25 %", "relative error", "re-anchored"):
        assert shown in text
    assert "distance" in (tmp_path / "figure-1.svg").read_text()


def test_figures_are_drawn_without_an_experiment() -> None:
    network, anchor = toy(1)
    layers = len(network.source_activations)
    assert len(regions_figure(network, anchor).axes) == 2 * (layers + 1)
    assert len(replacements_figure().axes) == 3


def test_runtimes_have_one_panel_each() -> None:
    # An error of nothing, which has no logarithm, and a boundary that is gone.
    panels = [measured_on(None, value) for value in (0.1, None)]
    assert len(runtime_figure(panels[:1]).axes) == 1
    first, second = runtime_figure(panels).axes
    assert first.get_title() == second.get_title() == "n, d_bnd (1 anchors)"
