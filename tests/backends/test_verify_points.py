"""Files that no network can be made of are attacked at random points."""

from pathlib import Path

import numpy as np
import pytest

from graphprune.cli.app import run
from tests.canonical.models import model_of, node

PROPERTY = """
(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)
(assert (>= X_0 0.1))(assert (<= X_0 0.3))(assert (>= X_1 {}))(assert (<= X_1 0.35))
(assert (>= Y_0 0.5))
"""


@pytest.mark.parametrize(("low", "verdict"), [(0.25, "sat"), (0.31, "unknown")])
def test_random_points_decide_what_no_network_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], low: float, verdict: str
) -> None:
    """The first output is 1 where X_0 is the largest."""
    two = np.array(2.0, np.float32)
    model = model_of(
        [node("Hardmax", "x", "h"), node("Mod", "h k", fmod=1)], [1, 2], constants={"k": two}
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "p.vnnlib").write_text(PROPERTY.format(low))
    asked = ["verify", str(tmp_path / "m.onnx"), str(tmp_path / "p.vnnlib"), "--timeout", "60"]
    assert run(asked) == 0
    out, said = capsys.readouterr()
    assert out.split("\n", 1)[0] == verdict
    assert verdict == "sat" or ("the Mod y" in said and "random points" in said)
    if verdict == "sat":
        x0, x1 = (float(out.split(f"(X_{i} ")[1].split(")")[0]) for i in (0, 1))
        assert 0.25 <= x1 <= x0 <= 0.3


def test_files_that_cannot_run_are_refused_with_their_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime has no memory for it, or its shapes do not fit: that was an internal error."""
    sizes = {"s": np.array([10**6, 10**6, 2]), "axes": np.array([0])}
    nodes = [node("Expand", "x s", "e"), node("ReduceSum", "e axes", keepdims=0)]
    model = model_of(nodes, [1, 2], constants=sizes)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "p.vnnlib").write_text(PROPERTY.format(0.25))
    asked = ["verify", str(tmp_path / "m.onnx"), str(tmp_path / "p.vnnlib"), "--timeout", "60"]
    assert run(asked) == 2
    said = capsys.readouterr().err
    assert "the Expand e" in said
    assert "internal error" not in said
