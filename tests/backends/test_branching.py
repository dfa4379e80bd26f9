"""Branching rules found by name, those of other distributions too."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import graphprune as gp
from graphprune.backends.branching import BRANCHING, register_branching
from graphprune.backends.choose import solvers
from graphprune.backends.relaxation.kernels import Split
from graphprune.backends.search.branching import StrongBranching
from graphprune.errors import GraphpruneError
from tests.conftest import MODELS
from tests.pipeline.test_plugins import graphprune, install

RULE = """
import numpy as np

from graphprune.backends.branching import register_branching
from graphprune.backends.relaxation.kernels import Split


class First:
    def choose(self, relaxation, parameters, workspace, bound, stop):
        free = np.flatnonzero(parameters.phases == 0)
        return Split(int(free[0]) if len(free) else -1, bound, bound)


register_branching("acme-first", First)
"""


class LastFree(NamedTuple):
    """Splits the last neuron that is not split yet."""

    def choose(self, relaxation, parameters, workspace, bound, stop):  # type: ignore[no-untyped-def]
        free = np.flatnonzero(parameters.phases == 0)
        return Split(int(free[-1]) if len(free) else -1, bound, bound)


def test_any_rule_finds_the_same_distance(
    images: list[gp.Anchor], tiny: gp.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = {"strong": StrongBranching, "last-free": LastFree}
    monkeypatch.setattr(BRANCHING, "own", rules)
    assert "search:last-free" in solvers()
    anchor = images[0]
    expected = gp.distance(tiny, anchor, solver="search")
    found = gp.distance(tiny, anchor, solver="search:last-free")
    assert expected.status == found.status == "exact"
    assert found.upper == pytest.approx(expected.upper, rel=2e-4)


def test_rules_are_named(tmp_path: Path) -> None:
    assert BRANCHING["strong"]() == StrongBranching()
    with pytest.raises(GraphpruneError, match="did you mean 'strong'"):
        BRANCHING["strnog"]
    with pytest.raises(GraphpruneError, match="two branching rules are called 'strong'"):
        register_branching("strong", StrongBranching)
    install(tmp_path, {"acme_rule": RULE}, "[graphprune.branching]\nfirst = acme_rule\n")
    done = graphprune(
        tmp_path, "distance", str(MODELS / "toy-2d.onnx"), "--anchors",
        str(MODELS / "toy-2d-anchors.npz"), "--limit", "1", "--solver", "search:acme-first",
        "--json", "r.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"exact"' in (tmp_path / "r.json").read_text()
