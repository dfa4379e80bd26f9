"""The verify command as scripts call it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.conftest import MODELS
from tests.oracles import Perceptron

TEXT = """(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(assert (>= X_0 -1)) (assert (<= X_0 1))
(assert (>= X_1 -1)) (assert (<= X_1 1))
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """y = relu(x0) + relu(x1)"""
    net = Perceptron([np.eye(2), np.ones((1, 2))], [np.zeros(2), np.zeros(1)])
    onnx.save(net.model(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def run(model: Path, text: str, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    path = model.with_suffix(".vnnlib")
    path.write_text(text)
    command = [sys.executable, "-m", "graphprune", "verify", str(model), str(path), *options]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=os.environ | more
    )


def children_seconds() -> float:
    """Processor time of all processes that ended so far and were waited for."""
    times = os.times()
    return times.children_user + times.children_system


def test_sat_is_followed_by_the_counterexample(model: Path) -> None:
    done = run(model, TEXT + "(assert (>= Y_0 1.9))")
    assert done.returncode == 0
    first, rest = done.stdout.split("\n", 1)
    assert first == "sat"
    assert rest.strip()[0] == "("
    assert rest.strip()[-1] == ")"
    pairs = dict(re.findall(r"\((\w+) ([-+.e\d]+)\)", rest))
    assert list(pairs) == ["X_0", "X_1", "Y_0"]
    x = [float(pairs["X_0"]), float(pairs["X_1"])]
    assert all(-1 <= v <= 1 for v in x)
    assert float(pairs["Y_0"]) >= 1.9
    assert float(pairs["Y_0"]) == pytest.approx(max(x[0], 0) + max(x[1], 0))


def test_unsat_is_one_word(model: Path) -> None:
    done = run(model, TEXT + "(assert (>= Y_0 2.1))")
    assert (done.returncode, done.stdout) == (0, "unsat\n")


def test_bad_input_is_one_message(model: Path) -> None:
    done = run(model, TEXT + "(assert (>= Y_1 2.1))")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "model.vnnlib: line 6: Y_1 is not declared" in done.stderr
    assert "Traceback" not in done.stderr
    done = run(model.with_name("none.onnx"), TEXT + "(assert (>= Y_0 2.1))")
    assert (done.returncode, done.stdout) == (2, "")


def test_properties_above_a_softmax_are_of_its_values(tmp_path: Path) -> None:
    """The softmax is cut: what is said of its values is not said of the logits."""
    proto = Perceptron([np.eye(2), np.eye(2)], [np.zeros(2), np.zeros(2)]).model()
    last = proto.graph.node[-1].output[0]
    proto.graph.node.append(onnx.helper.make_node("Softmax", [last], ["p"], axis=1))
    proto.graph.output[0].name = "p"
    model = tmp_path / "model.onnx"
    onnx.save(proto, model)
    text = TEXT + "(declare-const Y_1 Real)\n"
    done = run(model, text + "(assert (>= Y_0 1.5))")  # the logits reach 1 only, p never 1.5
    assert (done.returncode, done.stdout) == (0, "unsat\n")
    done = run(model, text + "(assert (>= (+ Y_0 X_0) 1.5))")
    assert (done.returncode, done.stdout) == (2, "")
    assert "above the Softmax" in done.stderr
    done = run(model, text + "(assert (>= Y_0 Y_1))")
    assert done.stdout.startswith("sat\n")
    # What is printed are the file's own outputs.
    pairs = {name: float(v) for name, v in re.findall(r"\((\w+) ([-+.e\d]+)\)", done.stdout)}
    x = np.array([[pairs["X_0"], pairs["X_1"]]], np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_array_equal([pairs["Y_0"], pairs["Y_1"]], expected[0])
    assert pairs["Y_0"] + pairs["Y_1"] == pytest.approx(1.0)


def test_the_clock_is_heard_while_kernels_are_compiled(model: Path, tmp_path: Path) -> None:
    """On a machine that never compiled them: the answer comes in time, or is timeout in time."""
    text = TEXT + "(assert (>= Y_0 1.999)) (assert (<= Y_0 1.9995)) (assert (<= Y_0 1.99))"
    start = children_seconds()
    run(model, text, "--timeout", "0.001")
    outside = children_seconds() - start  # what starting and ending a process takes
    start = children_seconds()
    done = run(model, text, "--timeout", "1", NUMBA_CACHE_DIR=str(tmp_path / "none"))
    assert done.stdout in ("timeout\n", "unsat\n")
    # Compiling takes ten times as much processor time, and time never passes more slowly.
    assert children_seconds() - start < 3.0 + outside


def test_the_clock_is_heard_even_while_loading(model: Path) -> None:
    done = run(model, TEXT + "(assert (>= Y_0 2.1))", "--timeout", "0.001")
    assert (done.returncode, done.stdout) == (0, "timeout\n")


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A command about a property of a trained network that takes longer than any test waits."""
    with np.load(MODELS / "mnist-test-100.npz") as images:
        x, y = images["x"][0].reshape(-1).astype(float) / 255.0, int(images["y"][0])
    lines = [f"(declare-const X_{i} Real)" for i in range(784)]
    lines += [f"(declare-const Y_{j} Real)" for j in range(10)]
    for i, v in enumerate(x):
        lines.append(f"(assert (>= X_{i} {max(v - 0.045, 0)})) (assert (<= X_{i} {v + 0.045}))")
    others = " ".join(f"(and (>= Y_{j} Y_{y}))" for j in range(10) if j != y)
    path = tmp_path_factory.mktemp("hard") / "hard.vnnlib"
    path.write_text("\n".join([*lines, f"(assert (or {others}))"]))
    return [sys.executable, "-m", "graphprune", "verify", str(MODELS / "mnist-a.onnx"), str(path)]


def test_events_tell_what_it_does(hard: list[str]) -> None:
    command = [*hard, "--json-lines", "--timeout", "300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = []
        for line in process.stdout:
            event = json.loads(line)
            assert event["event"] == "progress"
            said.append(event["text"])
            if "open" in said[-1]:
                break
        process.send_signal(signal.SIGINT)
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 130
    assert said[0] == "loading"
    assert re.fullmatch(r"neuron splitting: \d+ cases bounded, \d+ open", said[-1])


def test_events_end_with_the_verdict(model: Path) -> None:
    for text, options, verdict in (
        ("(assert (>= Y_0 1.9))", [], "sat"),
        ("(assert (>= Y_0 2.1))", [], "unsat"),
        ("(assert (>= Y_0 2.1))", ["--timeout", "0.001"], "timeout"),
    ):
        done = run(model, TEXT + text, "--json-lines", *options)
        assert (done.returncode, done.stderr) == (0, "")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert [event["event"] for event in events] == ["progress"] * (len(events) - 1) + ["end"]
        end = events[-1]
        assert end["verdict"] == verdict
        if verdict == "sat":
            assert end["y"][0] == pytest.approx(sum(max(x, 0.0) for x in end["x"]))
        else:
            assert end["x"] is end["y"] is None


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals")
@pytest.mark.parametrize("interrupted", [True, False])
def test_a_terminal_has_a_live_line_and_is_left_clean(hard: list[str], interrupted: bool) -> None:
    """Otherwise the limit strikes while loading: the answer comes from outside the computation."""
    limit = "300" if interrupted else "0.2"
    master, slave = os.openpty()
    with subprocess.Popen(
        [*hard, "--timeout", limit], stdout=subprocess.PIPE, stderr=slave,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    ) as process:  # fmt: skip
        os.close(slave)
        shown, pressed = b"", False
        while True:
            try:
                shown += os.read(master, 4096)
            except OSError:  # nobody has its other end any more
                break
            if b"cases bounded" in shown and not pressed:
                process.send_signal(signal.SIGINT)
                pressed = True
        assert process.stdout is not None
        assert process.stdout.read() == (b"" if interrupted else b"timeout\n")
    os.close(master)
    assert process.returncode == (130 if interrupted else 0)
    assert re.search(rb"loading \(\d+ of " + limit.encode(), shown)
    assert pressed == interrupted
    hide, show = b"\x1b[?25l", b"\x1b[?25h"
    assert shown.rindex(show) > shown.rindex(hide)
