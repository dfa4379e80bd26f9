"""Defaults from graphprune.toml and pyproject.toml."""

import json
from pathlib import Path

import numpy as np
import pytest

import graphprune as gp
from graphprune.cli.app import run
from graphprune.evaluate import experiment
from tests.conftest import MODELS

TOY, POINTS = str(MODELS / "toy-2d.onnx"), str(MODELS / "toy-2d-anchors.npz")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(*arguments: str) -> dict[str, object]:
    assert run([*arguments, "--limit", "1", "--json", "r.json", "--quiet"]) == 0
    found: dict[str, object] = json.loads(Path("r.json").read_text())["settings"]
    return found


CONFIG = f"""
anchors = ["{POINTS}"]
metrics = "adv"
seed = 3
[evaluate]
estimate = ["linearize-secant{{layers=1}}"]
effort = "fast"
[attack]
effort = "thorough"
"""


def test_the_folder_s_file_gives_defaults_and_the_command_line_wins() -> None:
    Path("graphprune.toml").write_text(CONFIG)
    found = settings("evaluate", TOY)
    assert (found["seed"], found["metrics"], found["effort"]) == (3, ["adv"], "fast")
    assert found["estimates"] == ["linearize-secant{layers=1}"]
    assert settings("evaluate", TOY, "--seed", "5")["seed"] == 5
    assert settings("attack", TOY)["effort"] == "thorough"


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_file_may_be_named(place: str) -> None:
    Path("own.toml").write_text(CONFIG)
    named = ["--config", "own.toml"]
    command = ["evaluate", TOY]
    found = settings(*(named + command if place == "before" else command + named))
    assert found["seed"] == 3


def test_pyproject_has_its_own_table() -> None:
    text = CONFIG.replace("[evaluate]", "[tool.graphprune.evaluate]")
    text = text.replace("[attack]", "[tool.graphprune.attack]")
    Path("pyproject.toml").write_text("[tool.graphprune]\n" + text)
    assert settings("evaluate", TOY)["seed"] == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sed = 1", "graphprune.toml: no option 'sed'; did you mean 'seed'?"),
        ("[evalute]\nseed = 1", "no command 'evalute'; did you mean 'evaluate'?"),
        ("[inspect]\nseed = 1", "inspect has no option 'seed'"),
        ("seed = [", "graphprune.toml: not TOML"),
        ('seed = "x"', "error: graphprune.toml: seed: Input should be a valid integer"),
        ("[evaluate]\ntime-limit = [3]", "graphprune.toml: time-limit: '[3]' is no duration"),
    ],
)
def test_mistakes_are_named(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("graphprune.toml").write_text(text)
    assert run(["evaluate", TOY, "--anchors", POINTS]) == 2
    assert said in capsys.readouterr().err


def test_a_named_file_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--config", "no.toml", "passes"]) == 2
    assert "no.toml: cannot read" in capsys.readouterr().err


def test_a_wrong_value_on_the_command_line_is_not_the_file_s(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("graphprune.toml").write_text("seed = 1")
    assert run(["evaluate", TOY, "--anchors", POINTS, "--seed", "x"]) == 2
    said = capsys.readouterr().err
    assert "'--seed'" in said
    assert "graphprune.toml" not in said


def test_one_value_of_an_option_that_may_be_repeated() -> None:
    Path("graphprune.toml").write_text(f'anchors = "{POINTS}"\nestimate = "nearest"')
    assert settings("evaluate", TOY, "--metrics", "adv")["estimates"] == ["nearest"]


def test_groups_of_commands_have_tables_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[experiment.Experiment] = []
    boxes: list[gp.Domain] = []

    def run_panel(
        self: experiment.Experiment, _: object, __: str, box: gp.Domain, ___: object
    ) -> list[object]:
        asked.append(self)
        boxes.append(box)
        return []

    monkeypatch.setattr(experiment.Experiment, "run", run_panel)
    Path("graphprune.toml").write_text(
        'domain = "none"\n[experiment.run]\nlimit = 7\nonly = "mnist-a"\nquiet = true'
    )
    assert (
        run(["experiment", "run", "--out", "x", "--recipe", "paper", "--models", str(MODELS)]) == 0
    )
    assert [e.anchors for e in asked] == [7]
    assert boxes == [gp.Domain(-np.inf, np.inf)]


@pytest.mark.parametrize("text", ["[experiment]\nlimit = 5", "[experiment.rum]\nlimit = 5"])
def test_mistakes_in_groups_are_named(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("graphprune.toml").write_text(text)
    assert run(["passes"]) == 2
    assert "experiment has no command" in capsys.readouterr().err


def test_the_output_with_the_scores_is_no_file_to_write() -> None:
    Path("graphprune.toml").write_text('output = "scores"')
    assert run(["opt", TOY, "-o", "o.onnx", "--quiet"]) == 0
    assert not Path("scores").exists()
    assert run(["opt", TOY]) == 2  # its own --output is still missing
