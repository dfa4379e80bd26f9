"""Results in one line without arrays, as a notebook shows them."""

import re

import numpy as np
import pytest

import graphprune as gp


def test_results_are_one_line(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    anchor = images[0]
    attack = gp.attack(tiny, anchor, effort="fast")
    proof = gp.certify(tiny, anchor, radius=0.001)
    pipeline = gp.Pipeline.parse("bounds{radius=0.01}, prune-stable")
    for value, pattern in (
        (anchor, rf"Anchor\({anchor.index}: class {anchor.label}, float32 \(1, 28, 28\)\)"),
        (attack, r"Attack\(0\.0\d+, class \d, \d+\.\d\d s\)"),
        (attack.witness, r"Witness\(0\.0\d+, class \d\)"),
        (proof, r"Certificate\(0\.001, crown, certified at 0\.001, \d+\.\d\d s\)"),
        (
            pipeline.run(tiny, anchor),
            r"PipelineResult\(bounds, prune-stable: \d+ living neurons, .*",
        ),
    ):
        said = repr(value)
        assert re.fullmatch(pattern, said), said
        assert len(said) < 100


@pytest.mark.parametrize(
    ("lower", "upper", "status", "said"),
    [
        (0.078335, 0.07834, "exact", "0.07834 exact, class 3, certified"),
        (0.05, 0.07834, "interval", "[0.05, 0.07834], class 3, certified"),
        (0.05, None, "interval", "[0.05, ?], certified"),
        (0.5, None, "robust", ">= 0.5 robust, certified"),
    ],
)
def test_a_distance_says_its_status(
    lower: float, upper: float | None, status: str, said: str
) -> None:
    from graphprune.attacks.confirm import Witness

    witness = None if upper is None else Witness(np.zeros(3), upper, 3)
    found = gp.Distance(lower, upper, status, witness, True, 7, 0.11)  # type: ignore[arg-type]
    assert repr(found) == f"Distance({said}, 0.11 s)"


def test_an_anchor_is_whatever_is_array_like(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    class Tensor:
        """Made an array of as a PyTorch tensor is."""

        def __init__(self, values: np.ndarray) -> None:
            self.values = values

        def detach(self) -> "Tensor":
            return self

        def cpu(self) -> np.ndarray:
            return self.values

    known = images[0]
    bytes_ = (255 * known.x).round().astype(np.uint8)
    exact = gp.Anchor(bytes_.astype(np.float32) / np.float32(255), known.label)
    expected = gp.certify(tiny, exact).radius
    for x in (bytes_, Tensor(bytes_), exact.x.tolist(), Tensor(exact.x)):
        for anchor in (gp.Anchor(x, known.label), gp.Anchor(x)):  # type: ignore[arg-type]
            assert gp.certify(tiny, anchor).radius == pytest.approx(expected, rel=1e-3)
    assert repr(gp.Anchor(known.x)) == "Anchor(0: no label, float32 (1, 28, 28))"
    unlabelled = gp.Pipeline.parse("attack{effort=fast}").run(tiny, gp.Anchor(known.x)).state
    assert unlabelled.anchor is not None
    assert unlabelled.anchor.label == known.label
    with pytest.raises(gp.AnchorError, match="domains read differently"):
        gp.Anchor(bytes_).ball(0.1, gp.Domain())  # type: ignore[arg-type]


def test_anchors_are_made_of_arrays(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    x = np.stack([anchor.x for anchor in images[:3]])
    labels = [anchor.label for anchor in images[:3]]
    for made in (gp.load_anchors(x, tiny), gp.load_anchors(x.tolist(), tiny, labels=labels)):
        assert [anchor.label for anchor in made] == labels
        assert np.array_equal(made[2].x, x[2])
    with pytest.raises(gp.AnchorError, match="x: has no labels"):
        gp.load_anchors(x)


def test_notebooks_show_points_as_pictures(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    attack = gp.attack(tiny, images[0], effort="fast")
    distance = gp.Distance(0.01, 0.02, "interval", attack.witness, True, 1, 0.1)
    for value in (images[0], attack, attack.witness, distance):
        page = value._repr_html_()  # type: ignore[union-attr]
        assert page.count("<table>") == page.count("<img") == 1, page
    proof = gp.certify(tiny, images[0], radius=0.001)
    assert "<td>yes, 0.001</td>" in proof._repr_html_()
    ran = gp.Pipeline.parse("bounds{radius=0.01}, prune-stable").run(tiny, images[0])
    assert ran._repr_html_().count("<tr>") == 3
    flat = gp.Anchor(np.full(5, 0.5, np.float32), 0)
    assert "<img" not in flat._repr_html_()
