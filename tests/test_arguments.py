"""Arguments of another type than a function takes: one sentence that says how to get the right one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphprune as gp

X = np.array([0.3, 0.4], np.float32)
PATH = "models/toy-2d.onnx"

NO_NETWORK: dict[str, Callable[[Any], object]] = {
    "attack": lambda given: gp.attack(given, gp.Anchor(X)),
    "certify": lambda given: gp.certify(given, gp.Anchor(X)),
    "distance": lambda given: gp.distance(given, gp.Anchor(X)),
    "evaluate": lambda given: gp.evaluate(given, X[None]),
    "hidden_bounds": lambda given: gp.hidden_bounds(given, gp.Anchor(X, 0).ball(0.1, gp.Domain())),
    "load_anchors": lambda given: gp.load_anchors(X[None], given),
    "run": lambda given: gp.Pipeline.parse("fuse-affine").run(given),
}


@pytest.mark.parametrize("function", NO_NETWORK)
@pytest.mark.parametrize("given", [PATH, [0, 1]], ids=["path", "list"])
def test_no_network(function: str, given: object) -> None:
    with pytest.raises(gp.GraphpruneError, match=r"expected a network, as of gp.load\(path\)"):
        NO_NETWORK[function](given)


def test_labels_in_the_place_of_the_network() -> None:
    with pytest.raises(gp.GraphpruneError, match=r"labels=\.\.\..*not list"):
        gp.load_anchors(X[None], [1])  # type: ignore[arg-type]


def test_no_anchor() -> None:
    network = gp.load(PATH)
    for ask in (gp.attack, gp.certify, gp.distance, gp.Pipeline.parse("fuse-affine").run):
        with pytest.raises(gp.GraphpruneError, match=r"gp.Anchor\(x\), not ndarray"):
            ask(network, X)  # type: ignore[arg-type]


def test_nothing_is_written_for_what_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(gp.GraphpruneError, match="expected a network"):
        gp.save(PATH, tmp_path / "out.onnx")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
