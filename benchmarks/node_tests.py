"""ONNX's own node tests: every operator's examples agree, or are refused with a reason.

    python benchmarks/node_tests.py FOLDER [--every-refusal]

FOLDER is ``onnx/backend/test/data/node`` of an installed ``onnx`` up to 1.18. Every floating input
of a test is taken for the network's input, the others become constants, and every floating output
is asked for, in three forms: with the sizes of the file, with a symbolic batch in front, and with
the whole tensor as one sample. The canonical form (float64) and the written file (ONNX Runtime) are
compared with the recorded output. A test agrees where one of its questions does and none is
answered wrongly; an exception that is no refusal counts as wrong. Where ONNX Runtime on the file
itself gives something else than recorded, ours has to be as near to it.
"""

import argparse
import logging
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.runtime.reference import forward64
from graphprune.runtime.session import Executable

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
# As ONNX's own runner compares, relative to the largest number; float16 has three digits.
TOLERANCE = {TensorProto.FLOAT16: 2e-2}
USUAL = 1e-3
# The name of a batch of any size.
BATCH = "any_batch"

Array = NDArray[Any]


@dataclass(frozen=True)
class Question:
    """A node test with one input left to compute with, and one output asked for."""

    model: onnx.ModelProto
    x: Array
    output: str
    expected: Array
    tolerance: float


def _tensor(path: Path) -> Array | None:
    """A recorded tensor; None for sequences and optional values."""
    tensor = TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        return numpy_helper.to_array(tensor) if tensor.data_type else None
    except Exception:
        return None


def _recorded(folder: Path, kind: str, names: list[str]) -> dict[str, Array | None]:
    data = folder / "test_data_set_0"
    return {name: _tensor(data / f"{kind}_{i}.pb") for i, name in enumerate(names) if name}


def questions(folder: Path) -> Iterator[Question]:
    """The questions of a test."""
    model = onnx.load(folder / "model.onnx")
    inputs = _recorded(folder, "input", [v.name for v in model.graph.input])
    outputs = _recorded(folder, "output", [v.name for v in model.graph.output])
    for value in model.graph.input:
        kind, x = value.type.tensor_type.elem_type, inputs[value.name]
        others = {n: a for n, a in inputs.items() if n != value.name}
        known = {n: a for n, a in others.items() if a is not None}
        if kind not in FLOATS or x is None or len(known) != len(others):
            continue
        if not np.all(np.isfinite(x)):
            continue
        constant = _with_constants(model, value, known)
        tolerance = TOLERANCE.get(kind, USUAL)
        for out in model.graph.output:
            expected = outputs[out.name]
            if expected is None or (len(outputs) > 1 and expected.dtype.kind != "f"):
                continue
            if out.type.tensor_type.elem_type == TensorProto.BFLOAT16:
                bits = expected.view(np.uint16).astype(np.uint32) << 16
                expected, tolerance = bits.view(np.float32), TOLERANCE[TensorProto.FLOAT16]
            for asked, point, answers in (
                (constant, x, expected),
                (_any_batch(constant), x, expected),
                (_one_sample(constant, out.name), x.reshape(1, -1), expected.reshape(1, -1)),
            ):
                yield Question(asked, point, out.name, answers, tolerance)


def _with_constants(
    model: onnx.ModelProto, kept: onnx.ValueInfoProto, others: dict[str, Array]
) -> onnx.ModelProto:
    """The model with every input but one a constant."""
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    asked.graph.ClearField("input")
    asked.graph.input.append(kept)
    asked.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in others.items())
    return asked


def _any_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a symbolic first axis."""
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    shape = asked.graph.input[0].type.tensor_type.shape
    if shape.dim:
        shape.dim[0].dim_param = BATCH
    for out in asked.graph.output:
        out.type.tensor_type.ClearField("shape")
    return asked


def _one_sample(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """The model between reshapes of a row of numbers, its only output `output`."""
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    graph, value = asked.graph, asked.graph.input[0]
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
    kinds = [o.type.tensor_type.elem_type for o in graph.output if o.name == output]
    graph.initializer.extend(
        numpy_helper.from_array(np.array(sizes, dtype=np.int64), name)
        for name, sizes in (("whole_shape", shape), ("row_shape", [1, -1]))
    )
    nodes = list(graph.node)
    graph.ClearField("node")
    graph.node.append(helper.make_node("Reshape", ["row", "whole_shape"], [value.name], "unroll"))
    graph.node.extend(nodes)
    graph.node.append(helper.make_node("Reshape", [output, "row_shape"], ["row_out"], "roll"))
    kind = value.type.tensor_type.elem_type
    graph.ClearField("input")
    graph.input.append(helper.make_tensor_value_info("row", kind, [1, int(np.prod(shape))]))
    graph.ClearField("output")
    graph.output.append(helper.make_tensor_value_info("row_out", kinds[0], None))
    return asked


def _deviates(got: Array, expected: Array, tolerance: float) -> bool:
    """True where numbers differ; what is not finite must be the same."""
    if got.shape != expected.shape:
        return True
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
    # Written so that NaN deviates.
    return not bool(np.all(np.abs(got - expected) <= tolerance * scale))


def answer(question: Question) -> str:
    """``agree``, ``wrong: ...`` or ``refused: ...``."""
    model, expected = question.model, question.expected
    output = question.output if len(model.graph.output) > 1 else None
    try:
        network = gp.from_proto(model, output=output)
    except gp.GraphpruneError as error:
        return f"refused: {error}"
    source = network.source
    batch, x = source.input_layout.batch, question.x.astype(np.float64)
    points = x[None] if batch is None else np.moveaxis(x, batch, 0)
    points = points.reshape(len(points), *network.input_shape)
    logits = forward64(network, points)[0]
    if expected.dtype.kind != "f":
        # Ties may be told either way (select_last_index).
        chosen = logits[np.arange(len(logits)), expected.reshape(-1)]
        same = np.array_equal(chosen, logits.max(axis=1))
        return "agree" if same else f"wrong: other classes than recorded, {expected.reshape(-1)}"
    written = Executable(gp.to_proto(network))({source.input_name: question.x})[0]

    def fits(wanted: Array) -> bool:
        same = not _deviates(written.reshape(wanted.shape), wanted, question.tolerance)
        below = source.head or not _deviates(logits, source.from_file(wanted), question.tolerance)
        return same and bool(below)

    if fits(expected):
        return "agree"
    runtime = Executable(_asking(model, output))({source.input_name: question.x})[0]
    if fits(np.asarray(runtime, dtype=np.float32)):
        return "agree"
    return f"wrong: {np.abs(written.reshape(expected.shape) - expected).max():.1e} away"


def _asking(model: onnx.ModelProto, output: str | None) -> onnx.ModelProto:
    """The model with that output alone."""
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    kept = [value for value in model.graph.output if output in (None, value.name)]
    asked.graph.ClearField("output")
    asked.graph.output.extend(kept)
    return asked


def judged(folder: Path) -> str:
    """The verdict on a test: of its questions the worst, but one that agrees is enough."""
    found = []
    try:
        for question in questions(folder):
            try:
                found.append(answer(question))
            except Exception as error:  # any other exception is a finding
                found.append(f"wrong: {type(error).__name__}: {error}")
    except Exception as error:
        return f"refused: not readable: {type(error).__name__}"
    if not found:
        return "refused: no finite floating tensor goes in and comes out"
    wrong = [verdict for verdict in found if verdict.startswith("wrong")]
    return wrong[0] if wrong else "agree" if "agree" in found else found[0]


def reason(verdict: str) -> str:
    """A refusal without the names of one file."""
    text = re.sub(r"model: |node '[^']*' |'[^']*'|\[[^]]*\]|\([^()]*\d[^()]*\)", "", verdict)
    return re.sub(r"[-\d.]+|\s+", " ", text)[9:110]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every-refusal", action="store_true", help="A line per refused test.")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    verdicts = {
        folder.name: judged(folder)
        for folder in sorted(options.folder.iterdir())
        if (folder / "model.onnx").exists()
    }
    counts = Counter(verdict.split(":")[0] for verdict in verdicts.values())
    for name, verdict in verdicts.items():
        if verdict.startswith("wrong") or (options.every_refusal and verdict != "agree"):
            print(f"{name}: {' '.join(verdict.split())[:200]}")
    reasons = Counter(reason(v) for v in verdicts.values() if v.startswith("refused"))
    for text, count in reasons.most_common():
        print(f"{count:5}  {text}")
    print(
        f"{len(verdicts)} tests: "
        + ", ".join(f"{counts[k]} {k}" for k in ("agree", "refused", "wrong"))
    )
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
