"""`gp.evaluate`: the table of many points, and whatever they come as."""

import inspect
import re
import sys
from typing import Any

import numpy as np
import pytest

import graphprune as gp
from graphprune.evaluate.settings import Settings
from graphprune.evaluate.table import EvaluateSettings
from tests.oracles import Perceptron

# Scores x_0, x_1, x_2: the distance is half the gap of the two largest.
POINTS = np.array([[0.9, 0.7, 0.3], [0.2, 0.8, 0.4], [0.1, 0.3, 0.2]], np.float32)
TRUTH = (0.1, 0.2, 0.05)


@pytest.fixture(scope="module")
def linear() -> gp.Network:
    return gp.from_proto(Perceptron([np.eye(3)], [np.zeros(3)]).model())


def test_a_row_per_point_and_a_column_per_number(linear: gp.Network) -> None:
    table = gp.evaluate(linear, POINTS, [0, 1, 2])
    assert isinstance(table, gp.Evaluation)
    assert len(table) == 3
    assert table["status"] == ["ok", "ok", "misclassified"]
    for row, truth in zip(table, TRUTH, strict=False):
        if row["status"] == "ok":
            assert row["d_rob"] <= row["d_bnd_lower"] <= row["d_bnd_upper"] <= row["d_adv"]
            assert row["d_bnd_upper"] == pytest.approx(truth, rel=1e-3)
            x = table.points[row["index"]]
            assert x is not None
            assert np.max(np.abs(x - POINTS[row["index"]])) <= row["d_adv"]
    assert table.points[2] is None
    assert table.summary["misclassified"] == 1
    said = repr(table)
    assert "\n" not in said
    assert re.match(r"Evaluation\(3 points, 2 ok, .*1 misclassified, mean d_", said)
    assert "<table>" in table._repr_html_()


def test_only_what_was_asked_for_has_columns(linear: gp.Network) -> None:
    table = gp.evaluate(linear, POINTS[:1], metrics=("rob",), radius=0.05)
    assert "d_rob" in table.columns
    assert not [c for c in table.columns if c.startswith(("d_adv", "d_bnd"))]
    assert table["at_radius"] == ["certified"]
    assert "at radius 0.05: 1 certified" in repr(table)
    # A metric that found nothing has its column all the same.
    small = gp.Domain(POINTS[0].astype(float) - 0.01, POINTS[0].astype(float) + 0.01)
    assert gp.evaluate(linear, POINTS[:1], metrics=("adv",), domain=small)["d_adv"] == [None]
    robust = gp.evaluate(linear, POINTS[:1], metrics=("bnd",), radius=0.05)
    assert robust["d_bnd_status"] == ["robust"]
    assert robust["d_bnd_upper"] == robust["d_bnd_target"] == [None]
    with pytest.raises(gp.GraphpruneError, match="did you mean 'd_rob'"):
        table["d_robb"]


def test_points_may_be_lists_bytes_or_tensors(linear: gp.Network) -> None:
    class Tensor:
        """Looks like a tensor on a device."""

        def detach(self) -> "Tensor":
            return self

        def cpu(self) -> np.ndarray:
            return POINTS

    expected = gp.evaluate(linear, POINTS, metrics=("adv",))["d_adv"]
    for x in (POINTS.tolist(), Tensor()):
        assert gp.evaluate(linear, x, metrics=("adv",))["d_adv"] == pytest.approx(expected)  # type: ignore[arg-type]
    bytes_ = np.round(POINTS * 255).astype(np.uint8)
    assert gp.evaluate(linear, bytes_, metrics=("adv",))["d_adv"] == pytest.approx(
        expected, abs=0.01
    )
    with pytest.raises(gp.AnchorError, match=r"x: points have shape \(2,\)"):
        gp.evaluate(linear, [[0.1, 0.2]])
    with pytest.raises(gp.AnchorError, match="arrays of one shape each: .*inhomogeneous"):
        gp.evaluate(linear, [[0.1, 0.2, 0.3], [0.1]])
    with pytest.raises(gp.GraphpruneError, match=r"a network, as of gp.load\(path\), not str"):
        gp.evaluate("model.onnx", POINTS)  # type: ignore[arg-type]
    with pytest.raises(gp.AnchorError, match="label 3 of point 0 is out of range"):
        gp.evaluate(linear, POINTS, [3, 1, 2])


def test_points_may_be_anchors(linear: gp.Network) -> None:
    expected = gp.evaluate(linear, POINTS, metrics=("adv",))
    labels = expected["label"]
    anchors = [gp.Anchor(x, y, i + 5) for i, (x, y) in enumerate(zip(POINTS, labels, strict=True))]
    found = gp.evaluate(linear, anchors[1:], metrics=("adv",))
    assert found["index"] == [6, 7][: len(POINTS) - 1]
    assert found["d_adv"] == pytest.approx(expected["d_adv"][1:])
    # Without labels the network's own; with one number for all, their places.
    plain = gp.evaluate(linear, [gp.Anchor(x) for x in POINTS], metrics=("adv",))
    assert (plain["index"], plain["label"]) == (list(range(len(POINTS))), labels)
    with pytest.raises(gp.AnchorError, match="anchors have their labels themselves: give no y"):
        gp.evaluate(linear, anchors, labels)
    with pytest.raises(gp.AnchorError, match="and anchors alone"):
        gp.evaluate(linear, [anchors[0], POINTS[1]])
    with pytest.raises(gp.AnchorError, match="different shapes"):
        gp.evaluate(linear, [anchors[0], gp.Anchor(np.zeros(1, np.float32), 0)])


def test_settings_are_those_of_a_run(linear: gp.Network) -> None:
    known = set(Settings.__dataclass_fields__)
    assert set(EvaluateSettings.__annotations__) <= known
    # The rest is asked of `gp.load`, or belongs to files.
    assert known - set(EvaluateSettings.__annotations__) == {"output", "fix_shape", "certificate"}
    assert gp.evaluate(linear, POINTS[:1], metrics=("adv",), target=2)["d_adv_target"] == [2]
    with pytest.raises(TypeError, match="unexpected keyword argument 'metric'.*'metrics'"):
        gp.evaluate(linear, POINTS, metric=("adv",))  # type: ignore[call-arg]
    with pytest.raises(gp.GraphpruneError, match="unknown metric 'dav'"):
        gp.evaluate(linear, POINTS, metrics=("dav",))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"radius": -1}, "radius must be positive, not -1"),
        ({"radius": 0.0}, "radius must be positive"),
        ({"radius": float("nan")}, "radius must be positive, not nan"),
        ({"radius": "0.1"}, "radius must be a number, not '0.1'"),
        ({"time_limit": -1}, "time_limit must be >= 0, not -1"),
        ({"memory": -1}, "memory must be a positive number"),
        ({"workers": 0}, "workers must be at least 1, not 0"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"margin": float("nan")}, "margin must be at least 0, not nan"),
        ({"provider": "x"}, "provider: unknown value 'x'; known: auto"),
        ({"provider": 3}, "provider: unknown value '3'"),
        ({"method": "corwn"}, "method: unknown value 'corwn'; did you mean 'crown'"),
        ({"effort": "standart"}, "effort: .*'standard'"),
        ({"attack": "decent"}, "attack: .*'descent'"),
        ({"solver": "scpi"}, "solver: .*'scip'"),
        ({"norm": "linff"}, "norm"),
        ({"estimates": "extrapolat"}, "extrapolat"),
        ({"domain": (0, 1)}, r"domain must be a gp.Domain\(low, high\), not \(0, 1\)"),
        ({"metrics": ()}, "metrics: none is asked for"),
    ],
)
def test_a_setting_out_of_range_is_refused(
    linear: gp.Network, setting: dict[str, Any], said: str
) -> None:
    with pytest.raises(gp.GraphpruneError, match=said):
        gp.evaluate(linear, POINTS, **({"metrics": ("rob",)} | setting))


def test_one_output_is_asked_about_with_a_threshold() -> None:
    one = gp.from_proto(Perceptron([np.array([[1.0, 1.0]])], [np.zeros(1)]).model())
    table = gp.evaluate(one, [[0.5, 0.5]], threshold=0.8, metrics=("bnd",))
    assert table["d_bnd_upper"] == [pytest.approx(0.1, rel=1e-3)]


def test_the_package_is_still_a_package() -> None:
    import graphprune.evaluate as package

    assert sys.modules["graphprune.evaluate"] is package
    assert package.settings.Settings is Settings
    # As a function it has the parameters, and the way to what they mean.
    assert inspect.signature(gp.evaluate) == inspect.signature(package.table.evaluate)
    assert "graphprune.evaluate.table.evaluate" in str(gp.evaluate.__doc__)


def test_a_data_frame_where_pandas_is(linear: gp.Network) -> None:
    table = gp.evaluate(linear, POINTS, metrics=("adv",))
    try:
        import pandas as pd
    except ImportError:
        with pytest.raises(gp.GraphpruneError, match="pip install pandas"):
            table.to_pandas()
        return
    frame = table.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.index) == [0, 1, 2]
    assert frame["d_adv"].tolist() == table["d_adv"]
