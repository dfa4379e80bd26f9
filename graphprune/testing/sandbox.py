"""Load files that nobody trusts in a child process, and judge what comes of it."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from graphprune.ir.network import Network

Verdict = Literal["loaded", "refused", "wrong", "exception", "crash", "hang", "memory", "escape"]
GOOD: tuple[Verdict, ...] = ("loaded", "refused")

SECONDS = 10.0
BYTES = 2 << 30


@dataclass(frozen=True)
class Judgement:
    """End of one file: `verdict`, and the message, exception or deviation behind it."""

    verdict: Verdict
    detail: str = ""

    @property
    def good(self) -> bool:
        return self.verdict in GOOD


class NotRunError(Exception):
    """ONNX Runtime refuses the file: there is no number to compare with."""


def deviation(network: Network, points: int = 3) -> float:
    """Distance of ONNX Runtime's logits of the original from the canonical network's in float64.

    In units of what float32 rounding explains (1e-5 of the sum of absolute terms): at most 1
    where both compute the same function. NaN where ONNX Runtime's result overflows.

    Raises
    ------
    NotRunError
        ONNX Runtime does not run the file.
    """
    from graphprune.ir.builder import GraphBuilder
    from graphprune.ir.network import BATCH, AffineOperator, data_inputs, operator
    from graphprune.runtime.original import run_original
    from graphprune.runtime.reference import Reference, forward64

    b = GraphBuilder(np.float64)
    values = {network.input: b.input("x", [BATCH, *network.input_shape])}
    for node in network.nodes:
        op = operator(node)
        op = op.absolute() if isinstance(op, AffineOperator) else op
        values[node.outputs[0]] = op.forward(b, *(values[v] for v in data_inputs(node)))
    b.output(values[network.output], "magnitude")
    x = np.random.default_rng(0).random((points, *network.input_shape))
    x = x.astype(network.source.dtype)
    with np.errstate(all="ignore"):
        try:
            theirs = run_original(network, x).astype(np.float64)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise NotRunError(f"{type(error).__name__}: {reason}") from None
        magnitude = Reference(b.build("magnitude"))({"x": np.abs(x).astype(np.float64)})[0]
        ours = forward64(network, x)[0]
        if not np.all(np.isfinite(theirs)) or not np.all(np.isfinite(ours)):
            return float("nan")
        return float(np.max(np.abs(ours - theirs) / (1e-5 * magnitude + 1e-5), initial=0.0))


def judge(path: Path) -> Judgement:
    """Load a file as a user would; compare with ONNX Runtime where it loads."""
    import graphprune as gp

    try:
        network = gp.load(path)
    except gp.GraphpruneError as error:
        text = str(error)
        if "\n" in text or not text:
            return Judgement("exception", f"a message of several lines or none: {text!r}")
        return Judgement("refused", text)
    try:
        off = deviation(network)
    except NotRunError as error:
        return Judgement("loaded", f"not run: {error}")
    return Judgement("wrong", f"{off:.3g} times rounding") if off > 1.0 else Judgement("loaded")


class Sandbox:
    """A child process that judges files one at a time, under limits of time and memory.

    Parameters
    ----------
    seconds, memory
        Limits per file; the child is killed and started anew when it passes one.
    """

    def __init__(self, seconds: float = SECONDS, memory: int = BYTES) -> None:
        self.seconds = seconds
        self.memory = memory
        self.folder = tempfile.TemporaryDirectory(prefix="graphprune-sandbox-")
        self._child: Any = None
        self._pipe: Connection | None = None

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()
        self.folder.cleanup()

    def judge(self, data: bytes) -> Judgement:
        """Write `data` as a model file in a folder of its own and judge it there."""
        model = Path(self.folder.name) / "model"
        model.mkdir(exist_ok=True)
        (Path(self.folder.name) / "secret.bin").write_bytes(bytes(1 << 16))
        link = model / "link.bin"
        if not link.is_symlink():
            link.symlink_to(Path(self.folder.name) / "secret.bin")
        (model / "m.onnx").write_bytes(data)
        return self.call(judge, model / "m.onnx")

    def call(self, function: Callable[[Path], Judgement], path: Path) -> Judgement:
        """Run `function(path)` in the child."""
        if self._pipe is None:
            self._start()
        assert self._pipe is not None
        try:
            self._pipe.send((function, path))
            if not self._pipe.poll(self.seconds):
                self._stop()
                return Judgement("hang", f"more than {self.seconds:g} s")
            outcome: Judgement
            outcome, peak = self._pipe.recv()
        except (EOFError, OSError):
            code = self._stop()
            return Judgement("crash", f"the process ended with {code}")
        if peak > self.memory:
            self._stop()
            return Judgement("memory", f"{peak >> 20} MiB: {outcome.verdict} {outcome.detail}")
        return outcome

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_serve, args=(theirs, self.folder.name), daemon=True)
        self._child.start()
        theirs.close()

    def _stop(self) -> int | None:
        if self._child is None:
            return None
        self._child.join(0.1)
        if self._child.is_alive():
            self._child.kill()
            self._child.join()
        code: int | None = self._child.exitcode
        self._child = self._pipe = None
        return code


def _serve(pipe: Connection, folder: str) -> None:
    """The child: judge files until the pipe closes."""
    import resource  # not on Windows, where the module is imported all the same

    # More than the limit that is judged, so that a leak is seen and the machine survives it.
    resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30))
    # Native libraries write to the file descriptors of stdout and stderr.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    opened: list[str] = []
    watching = False

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[0], str | bytes):
            opened.append(os.fsdecode(arguments[0]))

    sys.addaudithook(audit)
    _warm_up()
    while True:
        try:
            function, path = pipe.recv()
        except EOFError:
            return
        opened.clear()
        watching = True
        try:
            outcome = function(path)
        except MemoryError:
            outcome = Judgement("memory", "MemoryError")
        except BaseException as error:
            outcome = Judgement("exception", f"{type(error).__name__}: {str(error)[:300]}")
        watching = False
        outside = [name for name in opened if not _allowed(name, folder)]
        if outside:
            outcome = Judgement("escape", f"opened {outside[0]}")
        pipe.send((outcome, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def _warm_up() -> None:
    """Import and initialise everything, so that what is opened later is the model's doing."""
    from graphprune import from_proto

    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 2]) for n in "xy"]
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "warm", value[:1], value[1:])
    opset = [onnx.helper.make_opsetid("", 17)]
    deviation(from_proto(onnx.helper.make_model(graph, ir_version=8, opset_imports=opset)))


def _allowed(name: str, folder: str) -> bool:
    """Files of the model's own folder, and of Python itself."""
    real = os.path.realpath(name)
    inside = real.startswith(os.path.join(os.path.realpath(folder), "model") + os.sep)
    return inside or name.endswith((".py", ".pyc", ".so", ".pth", "entry_points.txt", "METADATA"))
