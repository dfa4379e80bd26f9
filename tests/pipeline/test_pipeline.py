"""Pipeline text and its errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune.pipeline.text import known_passes


@st.composite
def pipelines(draw: st.DrawFn) -> gp.Pipeline:
    known = known_passes()
    choices = []
    for _ in range(draw(st.integers(0, 4))):
        cls = known[draw(st.sampled_from(sorted(known)))]
        bounds = ["ibp", "fastlin", "fastlin-ibp", "crown"]
        options = {
            "gamma": st.floats(0.01, 0.99),
            "step": st.floats(0.01, 0.99),
            "radius": st.one_of(st.none(), st.floats(0, 10)),
            "method": st.sampled_from(["descent", "pgd"] if cls.name == "attack" else bounds),
            "bounds": st.sampled_from(["ibp", "crown"]),
            "layers": st.integers(0, 9),
            "only": st.lists(st.integers(1, 9), max_size=3).map(tuple),
            "effort": st.sampled_from(["fast", "standard", "thorough"]),
            "seed": st.integers(0, 99),
        }
        fields = getattr(cls, "__dataclass_fields__", {})
        chosen = {k: draw(options[k]) for k in fields if k in options and draw(st.booleans())}
        choices.append(cls(**chosen))
    return gp.Pipeline(tuple(choices))


@given(pipelines())
def test_text_and_pipeline_are_inverse(pipeline: gp.Pipeline) -> None:
    assert gp.Pipeline.parse(str(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prune-constnt", "unknown pass 'prune-constnt'; did you mean 'prune-constant'"),
        ("prune-constant{gama=0.5}", "no option 'gama'; did you mean 'gamma'"),
        ("prune-constant{gamma=half}", "'gamma' takes float, not 'half'"),
        ("prune-constant{gamma=2}", "between 0 and 1"),
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
    with pytest.raises(gp.GraphpruneError, match="'attack' needs an anchor"):
        gp.Pipeline.parse("prune-stable").run(tiny)


def test_reports_follow_the_passes(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    result = gp.Pipeline.parse("attack, linearize-secant, fuse-affine").run(tiny, images[0])
    assert [r.name for r in result.report] == ["attack", "linearize-secant", "fuse-affine"]
    assert result.report[0].neurons == tiny.living_neurons
    assert result.report[-1].neurons == result.network.living_neurons < tiny.living_neurons
    assert result.report[-1].multiply_adds <= result.report[1].multiply_adds
