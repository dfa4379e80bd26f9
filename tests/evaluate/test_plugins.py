"""Third-party estimators and solvers, through real entry points."""

import json
from pathlib import Path

import pytest

from graphprune.backends.choose import backend, register_solver, solvers
from graphprune.errors import GraphpruneError
from graphprune.evaluate.estimates import known_estimators, register_estimator
from tests.conftest import MODELS
from tests.pipeline.test_plugins import graphprune, install

TOY, POINTS = str(MODELS / "toy-2d.onnx"), str(MODELS / "toy-2d-anchors.npz")
ENTRY_POINTS = """\
[graphprune.estimators]
half = acme_estimator
[graphprune.solvers]
patient = acme_solver
"""
ESTIMATOR = '''
from dataclasses import dataclass
from typing import ClassVar

from graphprune.evaluate.estimates import EstimateQuery, register_estimator
from graphprune.evaluate.results import Answer
from graphprune.evaluate.settings import Metric


@register_estimator
@dataclass(frozen=True)
class Share:
    """A share of the attack's distance."""

    name: ClassVar[str] = "acme-share"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric.BND,)
    of: float = 0.5

    def run(self, query: EstimateQuery) -> Answer:
        return Answer(self.of * query.found.distance)
'''
SOLVER = """
from graphprune.backends.choose import backend, register_solver


class Patient:
    name = "acme-patient"

    def run(self, ledger, limits):
        backend("search").run(ledger, limits)


register_solver("acme-patient", Patient)
"""


def test_an_estimator_and_a_solver_of_another_distribution_work(tmp_path: Path) -> None:
    install(tmp_path, {"acme_estimator": ESTIMATOR, "acme_solver": SOLVER}, ENTRY_POINTS)
    done = graphprune(
        tmp_path, "evaluate", TOY, "--anchors", POINTS, "--limit", "1", "--json", "r.json",
        "--estimate", "acme-share{of=0.25}", "--solver", "acme-patient",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "r.json").read_text())
    (record,) = document["anchors"]
    (estimate,) = record["estimates"]
    assert estimate["value"] == 0.25 * record["d_adv"]["value"]
    assert document["settings"]["solver"] == "acme-patient"
    assert record["d_bnd"]["status"] == "exact"


@pytest.mark.parametrize("option", [["--estimate", "acme-share"], ["--solver", "acme-patient"]])
def test_without_the_plugin_the_name_is_refused(tmp_path: Path, option: list[str]) -> None:
    done = graphprune(tmp_path, "evaluate", TOY, "--anchors", POINTS, *option)
    assert done.returncode == 2
    assert f"'{option[1]}'" in done.stderr


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("estimators", "two estimators are called 'nearest'"),
        ("solvers", "two solvers are called 'scip'"),
    ],
)
def test_a_name_that_is_taken_names_the_distribution(tmp_path: Path, group: str, said: str) -> None:
    code = {
        "estimators": ESTIMATOR.replace("acme-share", "nearest"),
        "solvers": SOLVER.replace('"acme-patient", Patient', '"scip", Patient'),
    }
    install(tmp_path, {"acme": code[group]}, f"[graphprune.{group}]\nmine = acme\n")
    done = graphprune(
        tmp_path, "evaluate", TOY, "--anchors", POINTS, "--solver", "scip",
        "--estimate", "nearest",
    )  # fmt: skip
    assert done.returncode == 2
    assert "plugin 'mine' (acme) of distribution 'acme-graphprune 1.2'" in done.stderr
    assert said in done.stderr


def test_registries_know_their_own() -> None:
    assert solvers() == ("auto", "scip", "search")
    assert [backend(name).name for name in solvers()] == list(solvers())
    with pytest.raises(GraphpruneError, match="two solvers"):
        register_solver("search", lambda: backend("scip"))
    names = {"auto", "extrapolate", "milp", "nearest", "re-anchored", "sound"}
    assert set(known_estimators()) == names
    for name, cls in known_estimators().items():
        assert register_estimator(cls) is cls
        assert cls.name == name
