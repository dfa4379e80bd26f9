"""Estimates and resumed runs of exact distances in other norms."""

from pathlib import Path

import numpy as np
import pytest

import graphprune as gp
from graphprune.region import NORMS, Norm
from tests.oracles import Perceptron

L2, L1 = NORMS["l2"], NORMS["l1"]


def asked(seed: int, widths: list[int]) -> tuple[gp.Network, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.2, 0.8, (1, widths[0])).astype(np.float32)
    return gp.from_proto(Perceptron.random(rng, widths).model()), x


@pytest.mark.parametrize("norm", [L2, L1])
def test_every_estimate_of_d_bnd_is_in_the_norm_of_the_run(norm: Norm) -> None:
    network, x = asked(4, [4, 6, 4, 3])
    specs = (
        "nearest", "re-anchored", "sound", "milp", "auto",
        "linearize-secant{layers=1}, fuse-affine",
    )  # fmt: skip
    table = gp.evaluate(network, x, norm=norm, metrics=("bnd",), estimates=specs, time_limit=20)
    record = table.document["anchors"][0]
    exact = record["d_bnd"]
    assert exact["status"] == "exact"
    assert [e["spec"] for e in record["estimates"]] == list(specs)
    for estimate in record["estimates"]:
        assert estimate["status"] in ("ok", "exact"), estimate
        upper, lower = estimate.get("upper"), estimate.get("lower")
        assert upper is None or upper >= exact["lower"]
        assert lower is None or lower <= exact["upper"] * (1 + 1e-9)
    named = {e["spec"]: e["value"] for e in record["estimates"]}
    assert named["sound"] == pytest.approx(exact["upper"], rel=2e-4)


def test_a_run_in_another_norm_goes_on_where_it_stopped(tmp_path: Path) -> None:
    network, x = asked(1, [6, 30, 20, 3])

    def table(limit: float) -> gp.Evaluation:
        return gp.evaluate(network, x, norm=L1, time_limit=limit, run_dir=tmp_path)

    first, then = table(0.05), table(20)
    before, after = (t.document["anchors"][0]["d_bnd"] for t in (first, then))
    assert after["status"] == "exact"
    assert before["status"] == "exact" or after["lower"] >= before["lower"]
