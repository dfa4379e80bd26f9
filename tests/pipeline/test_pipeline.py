"""Pipeline text and its errors."""

import pytest
from hypothesis import given

import graphprune as gp
from graphprune.testing import pipelines


@given(pipelines())
def test_text_and_pipeline_are_inverse(pipeline: gp.Pipeline) -> None:
    assert gp.Pipeline.parse(str(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prune-constnt", "unknown pass 'prune-constnt'; did you mean 'prune-constant'"),
        ("prune-constant{gama=0.5}", "no option 'gama'; did you mean 'gamma'"),
        ("prune-constant{gamma=half}", "'gamma' takes float, not 'half'"),
        ("prune-constant{gamma=2}", "between 0 and 1, or both be 1"),
        ("prune-constant{gamma=nan}", "takes float"),
        ("prune-constant{gamma}", "name=value"),
        ("prune-constant{gamma=0.5 gamma=0.6}", "given twice"),
        ("bounds{method=crwon}", r"takes ibp\|fastlin\|fastlin-ibp\|crown"),
        ("fuse-affine{x=1}", "has no options"),
        ("attack attack", "expected ','"),
        ("attack,", "ends with ','"),
        ("{", "expected a pass name"),
        ("linearize-secant{only=0}", "counted from 1"),
    ],
)  # fmt: skip
def test_errors_name_the_cause(text: str, said: str) -> None:
    with pytest.raises(gp.GraphpruneError, match=said):
        gp.Pipeline.parse(text)


def test_a_local_pass_without_an_anchor_says_so(tiny: gp.Network) -> None:
    with pytest.raises(gp.GraphpruneError, match="'bounds' needs an anchor"):
        gp.Pipeline.parse("prune-stable").run(tiny)


def test_reports_follow_the_passes(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    result = gp.Pipeline.parse("attack, linearize-secant, fuse-affine").run(tiny, images[0])
    assert [r.name for r in result.report] == ["attack", "linearize-secant", "fuse-affine"]
    assert result.report[0].neurons == tiny.live_neurons
    assert result.report[-1].neurons == result.network.live_neurons < tiny.live_neurons
    assert result.report[-1].multiply_adds <= result.report[1].multiply_adds
