"""Files that no network can be made of are attacked at random points."""

from pathlib import Path

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
    model = model_of([node("Hardmax", "x", "h"), node("Relu", "h")], [1, 2])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "p.vnnlib").write_text(PROPERTY.format(low))
    asked = ["verify", str(tmp_path / "m.onnx"), str(tmp_path / "p.vnnlib"), "--timeout", "60"]
    assert run(asked) == 0
    out, said = capsys.readouterr()
    assert out.split("\n", 1)[0] == verdict
    assert verdict == "sat" or ("the Hardmax h" in said and "random points" in said)
    if verdict == "sat":
        x0, x1 = (float(out.split(f"(X_{i} ")[1].split(")")[0]) for i in (0, 1))
        assert 0.25 <= x1 <= x0 <= 0.3
