"""Options: every command offers what it can do, and messages name what the command offers."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer

from graphprune.cli.app import _commands, app
from graphprune.cli.app import run as main
from graphprune.cli.options import in_options
from tests.canonical.models import model_of, node
from tests.conftest import MODELS

ROOT = Path(__file__).parents[2]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# A whole command, as messages and texts of help suggest it.
COMMAND = re.compile(r"graphprune ((?:experiment )?[a-z]+)([^'\"`\n]*)")
GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = dict(_commands(GROUP))
EVERYWHERE = {"--help", *(flag for parameter in GROUP.params for flag in parameter.opts)}
FLAGS = {
    name: EVERYWHERE | {flag for parameter in command.params for flag in parameter.opts}
    for name, command in COMMANDS.items()
}
METRICS = {"evaluate", "attack", "certify", "distance"}
LOADING = METRICS | {"opt", "inspect", "verify"}
# Who may show the messages of a file: the first entry whose start is its name. A message has to fit
# all of them, but where their file is theirs alone.
HEARD_BY: tuple[tuple[str, set[str]], ...] = (
    *((f"graphprune/cli/{name}.py", {name}) for name in ("check", "inspect", "opt")),
    ("graphprune/cli/verify", {"verify"}),
    ("graphprune/cli/experiment.py", {"experiment run", "experiment plot"}),
    ("graphprune/cli/report.py", {"report", "plot"}),
    ("graphprune/cli/evaluate.py", METRICS),
    ("graphprune/cli/options.py", {*METRICS, "opt"}),
    # Of commands that have it.
    ("graphprune/cli/app.py", {*METRICS, "opt", "verify"}),
    ("graphprune/cli/", set()),
    ("graphprune/testing/", set()),
    ("graphprune/evaluate/experiment.py", {"experiment run"}),
    ("graphprune/evaluate/store.py", {*METRICS, "experiment run"}),
    ("graphprune/evaluate/archive.py", {"report", "plot"}),
    ("graphprune/evaluate/anchors.py", {*METRICS, "opt"}),
    ("graphprune/region/pixels.py", {*METRICS, "opt"}),
    ("graphprune/evaluate/", METRICS),
    ("graphprune/report/", {"report"}),
    ("graphprune/pipeline/", {*METRICS, "opt"}),
    ("graphprune/vnnlib/", {"verify"}),
    ("graphprune/runtime/", METRICS | {"opt", "verify"}),
    ("graphprune/", LOADING),
    ("backends/verify/", {"verify"}),
    ("backends/", METRICS | {"verify"}),
    ("passes/", {*METRICS, "opt"}),
)


def texts(path: Path) -> Iterator[str]:
    """Texts that a file may show: its strings, but for docstrings and the names of options."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent: set[int] = set()
    for part in ast.walk(tree):
        if isinstance(part, ast.Expr):
            silent.add(id(part.value))
        called = getattr(part, "func", None)
        name = getattr(called, "id", getattr(called, "attr", ""))
        if name in ("option", "again", "Option", "Argument"):
            silent |= {id(inner) for inner in ast.walk(part)}
    for part in ast.walk(tree):
        if id(part) in silent:
            continue
        if isinstance(part, ast.JoinedStr):
            silent |= {id(inner) for inner in ast.walk(part)}
            yield "".join(
                str(piece.value) if isinstance(piece, ast.Constant) else "X"
                for piece in part.values
            )
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def files() -> Iterator[tuple[str, set[str]]]:
    for folder in ("graphprune", "passes", "backends"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(("graphprune/passes/", "graphprune/backends/")):
                yield name, next(heard for start, heard in HEARD_BY if name.startswith(start))


def strange(text: str, commands: set[str], *, own: bool = False) -> set[str]:
    """Options of a text that one of these commands lacks (all of them, where it is their own text),
    or that a command it names lacks."""
    found = set()
    for command, rest in COMMAND.findall(text):
        if command in FLAGS:
            found |= set(OPTION.findall(rest)) - FLAGS[command]
            text = text.replace(rest, "")
    for option in set(OPTION.findall(text)) - EVERYWHERE:
        fits = [option in FLAGS[command] for command in commands]
        if not (any(fits) if own else all(fits)):
            found.add(option)
    return found


def test_messages_name_only_options_that_every_command_showing_them_has() -> None:
    wrong = {
        f"{name}: {text[:90]!r}: {', '.join(sorted(found))}"
        for name, commands in files()
        for text in texts(ROOT / name)
        if (found := strange(text, commands, own="/cli/" in name))
    }
    assert not wrong, "\n".join(sorted(wrong))


def test_a_message_with_a_strange_option_is_found() -> None:
    assert strange("leave it out (--metrics adv,rob)", {"distance"}) == {"--metrics"}
    assert strange("'graphprune report DIR --out X' makes one", set()) == {"--out"}
    assert not strange("'graphprune evaluate M --out X' makes one; --domain", {"opt", "attack"})
    assert any("truncated" in text for text in texts(ROOT / "graphprune/evaluate/anchors.py"))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_only_options_of_its_command(name: str) -> None:
    command = COMMANDS[name]
    epilog = command.epilog or ""
    for text in [command.help or "", *(getattr(p, "help", "") or "" for p in command.params)]:
        assert not strange(text, {name}), text
    for line in epilog.split("\n\n"):
        assert not strange(line, set()), line


def test_arguments_of_python_are_shown_as_the_options_of_the_command() -> None:
    text = "name one with `output=NAME`, or `other=1`"
    assert in_options(text, {"output": "--output"}) == "name one with --output NAME, or `other=1`"
    both = {"output": "-o", "output_name": "--output-name"}
    assert "with --output-name NAME" in in_options(text, both)


TOY, POINTS = str(MODELS / "toy-2d.onnx"), str(MODELS / "toy-2d-anchors.npz")
ASKED = [TOY, "--anchors", POINTS, "--limit", "1", "--quiet", "--domain", "none"]


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("attack", ["--method=crown"]),
        ("attack", ["--solver=scip"]),
        ("attack", ["--memory=1"]),
        ("attack", ["--certificate=c.gpc"]),
        ("certify", ["--effort=fast"]),
        ("certify", ["--seed=1"]),
        ("certify", ["--gap=0.5"]),
        ("certify", ["--solver=scip"]),
        ("certify", ["--save-points=p.npz"]),
        ("distance", ["--effort=fast"]),
        ("distance", ["--method=crown"]),
        ("evaluate", ["--metrics=rob", "--effort=fast"]),
        ("evaluate", ["--metrics=rob", "--save-points=p.npz"]),
        ("evaluate", ["--metrics=adv", "--method=fastlin"]),
        ("evaluate", ["--metrics=adv,rob", "--solver=scip"]),
        ("evaluate", ["--metrics=adv", "--radius=0.1", "--gap=1"]),
        ("evaluate", ["--metrics=adv", "--new"]),
        ("evaluate", ["--metrics=adv", "--worker-memory=1"]),
    ],
)
def test_an_option_without_effect_is_refused(
    command: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main([command, *ASKED, *options])
    except SystemExit as end:  # Typer's own usage errors
        code = int(str(end.code))
    assert code == 2
    said = capsys.readouterr().err
    assert options[-1].split("=")[0] in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "options",
    [["--anchors", POINTS], ["--index=0"], ["--domain=0,1"], ["--box=0,1"], ["--labels=y.npy"]],
)
def test_opt_refuses_what_its_pipeline_does_not_need(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["opt", TOY, "-o", str(tmp_path / "o.onnx"), *options]) == 2
    assert "changes nothing without --" in capsys.readouterr().err


def test_a_configuration_file_may_say_more_than_a_command_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "graphprune.toml").write_text('effort = "fast"\nmethod = "fastlin"\n')
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *ASKED, "--metrics", "rob"]) == 0


def test_a_file_with_two_outputs_is_told_how_to_choose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    w = {"w": np.eye(2, dtype=np.float32)}
    model = model_of(
        [node("MatMul", "x w", "y"), node("Add", "x x", "z")], ["n", 2], ["y", "z"], constants=w
    )
    path = str(tmp_path / "m.onnx")
    onnx.save(model, path)
    assert main(["opt", path, "-o", str(tmp_path / "o.onnx")]) == 2
    assert "name one with --output-name NAME" in capsys.readouterr().err
    assert main(["attack", path, "--anchors", POINTS]) == 2
    assert "name one with --output NAME" in capsys.readouterr().err
    assert main(["inspect", path]) == 2
    said = capsys.readouterr()
    assert "name one with --output NAME" in said.out + said.err
