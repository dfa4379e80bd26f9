"""Signs of life on stderr where there is no terminal."""

import logging
import re
import time

import pytest

from graphprune.attacks.attack import Attack
from graphprune.cli import progress
from graphprune.cli.app import run
from graphprune.evaluate.results import Result, Task
from graphprune.evaluate.settings import Metric


def lines_with(text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on stderr until one holds `text`."""
    lines: list[str] = []
    while not lines or text not in lines[-1]:
        time.sleep(0.01)
        lines += capsys.readouterr().err.splitlines()
    return lines


def test_lines_come_while_one_call_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINES", 0.02)
    lines = []
    with progress.Line(quiet=False, limit=7.0) as watch:
        for text in ("attack", "bounds"):
            watch.doing(text)
            lines += lines_with(text, capsys)
    assert all(re.fullmatch(r"  \.\.\. (attack|bounds) \(\d+ of 7 s\)", line) for line in lines)
    assert "attack" in lines[0]
    assert "bounds" in lines[-1]
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr() == ("", "")


def test_a_run_s_lines_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINES", 0.02)
    with progress.Live(quiet=False) as watch:
        watch.begin(2)
        watch.running(1, 2, Task("hash", 0, Metric.ADV), "round 3")
        lines = lines_with("round 3", capsys)
    assert re.fullmatch(r"  \.\.\. anchor 1/2  d_adv  round 3 \(\d+ s\)", lines[-1])


def test_networks_are_named_where_there_are_several_and_kept_tasks_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = Result(Attack(None, 0.1))
    with progress.Live(quiet=False, names={"hash": "mnist-a"}) as watch:
        for index in range(3):
            if index == 2:
                watch.begin(1)
            watch.finished(index + 1, 3, {}, Task("hash", index, Metric.ADV), done)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "resuming: 2 of 3 tasks done"
    assert second.startswith("mnist-a  anchor 3/3  d_adv  ")


def test_quiet_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINES", 0.01)
    with progress.Line(quiet=True) as watch:
        watch.doing("attack")
        time.sleep(0.1)
    assert capsys.readouterr() == ("", "")


def test_a_warning_is_shown_once_however_many_anchors_have_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    assert run(["passes", "fuse-affine"]) == 0
    capsys.readouterr()
    for node in ("first", "second", "first", "first"):
        logging.getLogger("graphprune").warning("node '%s': no solver knows it", node)
    said = capsys.readouterr().err.splitlines()
    assert said == [f"graphprune: node '{n}': no solver knows it" for n in ("first", "second")]
