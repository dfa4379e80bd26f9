"""Every kind of threat against brute force, closed forms, and the same question asked otherwise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.errors import GraphpruneError
from graphprune.evaluate.settings import Settings
from graphprune.region import Domain, norm_of
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.testing.arrays import points
from graphprune.threats import Numbers, Threat, ThreatModel, asked, known_threats, threat_of
from graphprune.threats.mask import Mask
from graphprune.threats.scale import Scaled
from graphprune.threats.subspace import Subspace
from tests.canonical.models import model_of, node
from tests.drawn import labelled
from tests.oracles import Perceptron, brute_force_distance

NONE = Domain(-np.inf, np.inf)
NORMS = st.sampled_from(["linf", "l2", "l1"])
Drawn = tuple[Perceptron, gp.Network, gp.Anchor]


def in_front(net: Perceptron, x: np.ndarray, b: np.ndarray) -> Perceptron:
    """The network of z in x + B z."""
    weights, biases = [net.weights[0] @ b, *net.weights[1:]], list(net.biases)
    biases[0] = biases[0] + net.weights[0] @ x
    return Perceptron(weights, biases)


def agree(drawn: Drawn, threat: ThreatModel, b: np.ndarray, norm: str = "linf") -> None:
    """All metrics on all of space have the distance of the network of z; points are inputs."""
    net, network, anchor = drawn
    z0, behind = np.zeros(b.shape[1]), in_front(net, anchor.center, b)
    truth = brute_force_distance(behind, z0, anchor.label, -np.inf, np.inf, norm_of(norm))
    rob = gp.certify(network, anchor, threat=threat, domain=NONE, norm=norm, radius=50.0)
    adv = gp.attack(network, anchor, threat=threat, domain=NONE, norm=norm, effort="fast")
    bnd = gp.distance(
        network, anchor, threat=threat, domain=NONE, norm=norm, radius=50.0, known_attack=adv
    )
    assert rob.radius <= min(truth, 50.0) * (1 + 1e-6)
    assert adv.distance is None or adv.distance >= truth * (1 - 1e-5) - 1e-6
    if truth > 49.0:
        assert bnd.status == "robust" or truth < 51.0
        return
    assert bnd.status == "exact"
    assert bnd.upper == pytest.approx(truth, rel=2e-4, abs=2e-6)
    witness = bnd.witness
    assert witness is not None
    assert witness.x.shape == anchor.x.shape
    assert witness.x.dtype == network.source.dtype
    scores = run_original(network, witness.x[None])[0]
    assert scores[witness.target] >= scores[anchor.label]
    # The point is x + B z with a z of that length.
    z, *_ = np.linalg.lstsq(b, witness.x - anchor.center, rcond=None)
    assert np.allclose(b @ z, witness.x - anchor.center, atol=1e-5 * (1 + np.abs(witness.x).max()))


@settings(max_examples=6)
@given(drawn=labelled([2, 3, 3], [3, 4, 2]), data=st.data())
def test_weights_scale_the_distance_and_fix_elements(drawn: Drawn, data: st.DataObject) -> None:
    size = drawn[2].x.size
    by = np.array([data.draw(st.sampled_from([2.0, 1.0, 0.3])) for _ in range(size)])
    fixed = data.draw(st.integers(0, size - 1))
    by[fixed] = data.draw(st.sampled_from([by[fixed], 0.0]))
    agree(drawn, Scaled(Numbers(by)), np.diag(by)[:, by > 0.0], data.draw(NORMS))


@settings(max_examples=6)
@given(drawn=labelled([2, 3, 3], [3, 4, 2]), data=st.data())
def test_directions_span_a_subspace(drawn: Drawn, data: st.DataObject) -> None:
    size = drawn[2].x.size
    b = data.draw(points(size, data.draw(st.integers(1, 2)), low=-1.0, high=1.0))
    b[0] += 0.5  # no direction is zero
    agree(drawn, Subspace(Numbers(b)), b, data.draw(NORMS))


def along(net: Perceptron, x: np.ndarray, step: np.ndarray, sides: tuple[float, float]) -> float:
    """The least |z| where the clipped x + z step is of another class, by looking everywhere."""
    label, best = int(np.argmax(net.logits(x))), np.inf
    for side in sides:
        z = np.linspace(0.0, side, 4001) if np.isfinite(side) else np.zeros(1)
        changed = [int(np.argmax(net.logits(np.clip(x + t * step, 0, 1)))) != label for t in z]
        best = min(best, abs(z[int(np.argmax(changed))])) if any(changed) else best
    return best


@settings(max_examples=6)
@given(
    drawn=labelled([3, 4, 3], [4, 5, 2]),
    name=st.sampled_from(["uniform", "brightness", "contrast"]),
)
def test_one_direction_in_a_domain_is_that_of_looking_everywhere(drawn: Drawn, name: str) -> None:
    net, network, anchor = drawn
    x = anchor.center
    step = {"uniform": np.ones(x.size), "brightness": x, "contrast": x - x.mean()}[name]
    if not np.any(step):
        return
    ends = (-1.0, 1.0) if name == "uniform" else (-1.0, 40.0)
    truth = along(net, x, step, ends)
    found = gp.distance(network, anchor, threat=name)
    certified = gp.certify(network, anchor, threat=name)
    spacing = max(ends[1], 1.0) / 4000
    if np.isfinite(truth):
        assert found.upper is not None
        assert found.upper <= truth + 1e-5
        assert found.lower >= truth - spacing - 1e-5 or found.upper < truth - spacing
        assert certified.radius <= truth + 1e-6
        assert found.witness is not None
        assert (
            np.argmax(net.logits(found.witness.x.astype(float))) != anchor.label
            or np.ptp(np.sort(net.logits(found.witness.x.astype(float)))[-2:]) < 1e-4
        )
    elif found.upper is None:
        assert found.status == "robust"


def test_brightness_of_a_linear_network_in_closed_form() -> None:
    w = {
        "w": np.array([[3.0, -1.0], [1.0, 2.0]], np.float32),
        "b": np.array([0.0, 0.5], np.float32),
    }
    model = model_of([node("MatMul", "x w", "z"), node("Add", "z b", "y")], ["n", 2], constants=w)
    network, x = gp.from_proto(model), np.array([0.4, 0.2], np.float32)
    # f_0 - f_1 = 4 x_0 - x_1 - 0.5 = 0.9 at the anchor; (1 + z) 1.4 = 0.5.
    found = gp.distance(network, gp.Anchor(x), threat="brightness")
    assert found.status == "exact"
    assert found.upper == pytest.approx(0.9 / 1.4, rel=1e-4)
    assert gp.attack(network, gp.Anchor(x), threat="brightness").distance == pytest.approx(
        0.9 / 1.4, rel=1e-4
    )
    assert gp.certify(network, gp.Anchor(x), threat="brightness").radius == pytest.approx(
        0.9 / 1.4, rel=2e-3
    )


def same(one: gp.Distance, other: gp.Distance) -> bool:
    return (one.lower, one.upper, one.status, one.nodes) == (
        other.lower,
        other.upper,
        other.status,
        other.nodes,
    )


def test_weights_of_one_are_the_plain_ball_to_the_digit(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    anchor = images[2]
    plain = gp.distance(tiny, anchor)
    for threat in ("scale{by=1}", "mask{box=0,0,28,28}", "channels{only=0}", "patch{size=28}"):
        assert same(gp.distance(tiny, anchor, threat=threat), plain)
    assert gp.certify(tiny, anchor, threat="scale{by=1}").radius == gp.certify(tiny, anchor).radius
    assert (
        gp.attack(tiny, anchor, threat="scale{by=1}").distance == gp.attack(tiny, anchor).distance
    )


def test_a_weight_of_zero_is_a_mask_and_both_leave_elements_as_they_are(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    anchor, mask = images[0], np.zeros((28, 28))
    mask[4:16, 6:20] = 1.0
    found = [
        gp.distance(tiny, anchor, threat=t)
        for t in (Scaled(Numbers(mask)), Mask(file=Numbers(mask.astype(bool))))
    ]
    found.append(gp.distance(tiny, anchor, threat="mask{box=4,6,12,14}"))
    assert same(found[0], found[1])
    assert same(found[0], found[2])
    assert found[0].status == "exact"
    assert found[0].witness is not None
    assert np.array_equal(found[0].witness.x[0][mask == 0], anchor.x[0][mask == 0])


def test_half_units_double_the_distance(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    plain, half = (gp.distance(tiny, images[1], threat=t) for t in (None, "scale{by=0.5}"))
    assert half.upper == pytest.approx(2.0 * (plain.upper or 0.0), rel=2e-4)
    witness = half.witness
    assert witness is not None
    # The distance is that of the very point, in units of 0.5.
    assert np.abs(witness.x - images[1].center).max() / 0.5 == pytest.approx(half.upper, rel=1e-12)


def with_normalisation(network: gp.Network, mean: np.ndarray, std: np.ndarray) -> gp.Network:
    """The file with (x - mean) / std written in front of it."""
    model = onnx.ModelProto()
    model.CopyFrom(network.source.proto)
    name = network.source.input_name
    for read in model.graph.node:
        read.input[:] = ["normal" if i == name else i for i in read.input]
    shape = (1, -1, 1, 1)
    for label, numbers in (("mean", mean), ("std", std)):
        tensor = numbers.astype(np.float32).reshape(shape)
        model.graph.initializer.append(onnx.numpy_helper.from_array(tensor, label))
    nodes = [
        onnx.helper.make_node("Sub", [name, "mean"], ["centred"]),
        onnx.helper.make_node("Div", ["centred", "std"], ["normal"]),
        *model.graph.node,
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return gp.from_proto(model)


def test_normalised_units_are_the_network_with_the_normalisation_folded_in(
    truth: Path,
) -> None:
    """On a CIFAR network of VNN-COMP: raw pixels in [0, 1], and the box of its VNN-LIB file."""
    from graphprune.vnnlib import read_property

    network = gp.load(truth / "vnncomp/oval21/onnx/cifar_base_kw.onnx")
    file = "cifar_base_kw-img876-eps0.024836601307189544.vnnlib.gz"
    low, high = read_property(str(truth / "vnncomp/oval21/vnnlib" / file)).regions[0].box.outward
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.225, 0.224, 0.226])
    by = "normalise{mean=0.485+0.456+0.406 std=0.225+0.224+0.226}"
    raw = np.clip((low + high).reshape(3, 32, 32) / 2 * 0.225 + mean[:, None, None], 0, 1)
    x, folded = raw.astype(np.float32), with_normalisation(network, mean, std)
    prepared = Threat.parse(by).prepared(network, Domain())
    assert np.allclose(run_original(prepared, x[None]), run_original(folded, x[None]), atol=1e-6)
    anchor = gp.Anchor(x, int(run_original(folded, x[None])[0].argmax()))
    radii = [
        gp.certify(one, anchor, radius=0.01, threat=threat).radius
        for one, threat in ((network, by), (folded, None))
    ]
    assert radii[0] == pytest.approx(radii[1], rel=1e-3)
    attacks = [
        gp.attack(one, anchor, effort="fast", threat=threat)
        for one, threat in ((network, by), (folded, None))
    ]
    assert attacks[0].distance == pytest.approx(attacks[1].distance, rel=1e-3)
    assert attacks[0].witness is not None
    point = attacks[0].witness.x
    assert point.min() >= 0.0
    assert point.max() <= 1.0
    parts = (part.astype(np.float32)[:, None, None] for part in (mean, std))
    normal = (point - next(parts)) / next(parts)
    assert run_original(network, normal[None]).argmax() != anchor.label


def test_the_box_of_a_vnnlib_file_is_the_ball_of_raw_pixels(truth: Path) -> None:
    from graphprune.vnnlib import read_property

    eps = 0.024836601307189544
    file = f"cifar_base_kw-img876-eps{eps}.vnnlib.gz"
    low, high = read_property(str(truth / "vnncomp/oval21/vnnlib" / file)).regions[0].box.outward
    network = gp.load(truth / "vnncomp/oval21/onnx/cifar_base_kw.onnx")
    by = Threat.parse("normalise{mean=0.485+0.456+0.406 std=0.225}")
    entry = by.prepared(network, Domain()).source.entry
    assert entry is not None
    mean = np.array([0.485, 0.456, 0.406])[:, None, None]
    ends = [end.reshape(3, 32, 32) * 0.225 + mean for end in (low, high)]
    pixels = np.round(np.where(ends[0] > 1e-6, ends[0] + eps, ends[1] - eps) * 255) / 255
    ball = gp.Anchor(pixels).ball(eps, Domain())
    for side, end in ((ball.lower, low), (ball.upper, high)):
        assert np.allclose(entry.image(side[None]).reshape(-1), end, atol=3e-6)


MODELS: dict[str, Callable[[], str]] = {
    "normalise": lambda: "normalise{mean=0.5+0.4 std=0.3+0.2}",
    "scale": lambda: "scale{by=0.7}",
    "mask": lambda: "mask{box=0,1,2,2}",
    "features": lambda: "features{only=0+5+9}",
    "channels": lambda: "channels{only=1}",
    "patch": lambda: "patch{size=2 at=1,0}",
    "uniform": lambda: "uniform",
    "brightness": lambda: "brightness",
    "contrast": lambda: "contrast",
    "blur": lambda: "blur{sigma=0.8}",
}


@pytest.fixture(scope="module")
def pixels() -> tuple[gp.Network, gp.Anchor]:
    """A small network of images with two channels, and an image."""
    rng = np.random.default_rng(3)
    constants = {"k": rng.normal(0, 1, (3, 2, 2, 2)), "w": rng.normal(0, 1, (18, 3))}
    model = model_of(
        [node("Conv", "x k", "a"), node("Relu", "a", "b"), node("Flatten", "b", "c"),
         node("MatMul", "c w", "y")],
        ["n", 2, 3, 4], constants={k: v.astype(np.float32) for k, v in constants.items()},
    )  # fmt: skip
    x = rng.uniform(0.1, 0.9, (2, 3, 4)).astype(np.float32)
    network = gp.from_proto(model)
    return network, gp.Anchor(x, int(run_original(network, x[None]).argmax()))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_is_sound_on_samples_of_its_ball(
    name: str, pixels: tuple[gp.Network, gp.Anchor]
) -> None:
    network, anchor = pixels
    text = MODELS[name]()
    assert str(Threat.parse(str(Threat.parse(text)))) == str(Threat.parse(text))
    prepared = Threat.parse(text).prepared(network, Domain())
    if name == "normalise":  # it has a class of its own
        anchor = gp.Anchor(anchor.x)
    radius = gp.certify(network, anchor, threat=text).radius
    found = gp.distance(network, anchor, threat=text, time_limit=20)
    adv = gp.attack(network, anchor, threat=text).distance
    assert radius <= found.lower * (1 + 1e-3) + 1e-9
    assert adv is None or adv >= found.lower * (1 - 1e-9)
    assert found.status in ("exact", "robust")
    query = asked(network, anchor, Domain(), text)
    rng, label = np.random.default_rng(0), query.anchor.label
    low, high = query.ball(found.lower).lower, query.ball(found.lower).upper
    z = rng.uniform(low, high, (200, *low.shape))
    z[::2] = np.where(rng.random(z[::2].shape) < 0.5, low, high)
    scores = forward64(query.network, z)[0]
    assert np.all(scores[:, label] >= scores.max(axis=1) - 1e-9)
    # What is computed is what the file says of the inputs, which stay in the domain.
    entry = query.network.source.entry
    if entry is not None and entry.local:
        x = entry.image(z)
        assert x.min() >= 0.0
        assert x.max() <= 1.0
        assert np.allclose(run_original(prepared, x), scores, atol=1e-4)
        assert np.allclose(entry.image(query.anchor.x[None])[0], anchor.x, atol=1e-7)


def test_every_model_that_is_registered_is_tested() -> None:
    assert {*MODELS, "subspace", "interpolate"} == set(known_threats())


def test_interpolation_ends_at_the_other_image(
    tiny: gp.Network, images: list[gp.Anchor], tmp_path: Path
) -> None:
    np.save(tmp_path / "others.npy", np.stack([np.uint8(a.x * 255) for a in images[:3]]))
    text = f"interpolate{{to={tmp_path}/others.npy index=1}}"
    found = gp.distance(tiny, images[0], threat=text)
    assert found.status == "exact"
    z = np.linspace(0.0, 1.0, 2001)
    other = np.float32(np.uint8(images[1].x * 255)) / 255
    way = (images[0].x + z[:, None, None, None] * (other - images[0].x)).astype(np.float32)
    changed = run_original(tiny, way).argmax(axis=1) != images[0].label
    assert found.upper == pytest.approx(z[np.argmax(changed)], abs=6e-4)
    assert found.witness is not None
    assert found.witness.searched is not None
    assert np.allclose(
        found.witness.x, images[0].x + found.witness.searched * (other - images[0].x), atol=1e-6
    )


def test_masks_and_directions_go_together(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    found = gp.distance(tiny, images[0], threat="mask{box=8,8,12,12} | uniform")
    assert found.witness is not None
    assert found.witness.searched is not None
    moved = (found.witness.x != images[0].x)[0]
    assert not moved[:8].any()
    assert not moved[:, 20:].any()
    inside = found.witness.x[0, 8:20, 8:20]
    steps = inside - images[0].x[0, 8:20, 8:20]
    free = (inside > 0) & (inside < 1)
    assert np.allclose(steps[free], found.witness.searched, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no model"),
        ("blurr", "did you mean 'blur'"),
        ("mask{boxx=1}", "threat model 'mask' has no option 'boxx'; did you mean 'box'"),
        ("mask", "give file=FILE or box="),
        ("mask{box=1,2,3}", "box has 4 numbers"),
        ("mask{file=nowhere.npy}", "nowhere.npy: neither numbers"),
        ("scale", "'scale' needs the option 'by'"),
        ("uniform, contrast", "expected '|'"),
        ("uniform | mask{box=1,1,2,2}", "'mask' stands behind 'uniform'"),
        ("mask{box=1,1,2,2} | normalise", "'normalise' stands behind 'mask'"),
        ("normalise | normalise", "one change of units"),
        ("features{only=a}", "takes N+N+..., not 'a'"),
        ("blur{sigma=0}", "sigma=0.0 must be positive"),
        ("patch{size=1,2,3}", "give size=N"),
    ],
)  # fmt: skip
def test_texts_that_mean_nothing(text: str, said: str) -> None:
    with pytest.raises(GraphpruneError) as error:
        Threat.parse(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scale{by=-1}", "must not be negative"),
        ("scale{by=0}", "cannot move: every element is fixed"),
        ("mask{box=1,1,2,2} | features{only=0}", "cannot move: every element is fixed"),
        ("scale{by=1+2+3}", "samples have shape (2, 3, 4): give one number, 24 for all elements, or 2"),
        ("features{only=24}", "no feature 24: samples have 0 to 23"),
        ("channels{only=2}", "no channel 2: images have 0 to 1"),
        ("patch{size=4}", "is not one of the image's 3 x 4"),
        ("normalise{std=0}", "std=0 must be positive"),
        ("normalise{mean=123}", "mean=123 lies outside the domain [0, 1]"),
    ],
)  # fmt: skip
def test_threats_that_do_not_fit(
    text: str, said: str, pixels: tuple[gp.Network, gp.Anchor]
) -> None:
    network, anchor = pixels
    with pytest.raises(GraphpruneError) as error:
        gp.certify(network, anchor, threat=text)
    assert said in str(error.value)


def test_units_that_are_mixed_up(pixels: tuple[gp.Network, gp.Anchor]) -> None:
    network, anchor = pixels
    for text, domain, said in (
        ("normalise{mean=0.5 std=0.2}", Domain(0, 255), "those of values in [0, 1]"),
        ("normalise{mean=120 std=60}", Domain(0, 255), "anchor 0 has values in [0."),
    ):
        with pytest.raises(GraphpruneError) as error:
            gp.certify(network, anchor, threat=text, domain=domain)
        assert said in str(error.value)


def test_an_anchor_that_a_direction_does_not_move(pixels: tuple[gp.Network, gp.Anchor]) -> None:
    network, _ = pixels
    black = gp.Anchor(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(GraphpruneError, match="cannot move anchor 0: a direction is zero there"):
        gp.attack(network, black, threat="brightness")


def test_bytes_in_front_of_a_network_of_normalised_pixels(
    pixels: tuple[gp.Network, gp.Anchor],
) -> None:
    network, anchor = pixels
    raw: Any = np.round(anchor.x * 255).astype(np.uint8)
    shares = gp.attack(network, gp.Anchor(raw), threat="normalise{mean=0.5 std=0.2}")
    numbers = gp.attack(
        network, gp.Anchor(raw), threat="normalise{mean=127.5 std=51}", domain=Domain(0, 255)
    )
    assert numbers.distance == pytest.approx(255 * (shares.distance or 0.0), rel=1e-3)


def test_the_tasks_of_one_anchor_share_its_network(
    pixels: tuple[gp.Network, gp.Anchor],
) -> None:
    network, anchor = pixels
    other = gp.Anchor(anchor.x * np.float32(0.5), anchor.label)
    first, again, moved, back = (
        asked(network, a, None, "uniform").network for a in (anchor, anchor, other, anchor)
    )
    assert first is again
    assert moved is not first
    assert back is not first  # one is kept, not all of a run
    assert asked(network, anchor, None, "contrast").network is not back


def test_a_threat_is_a_text_a_model_or_itself() -> None:
    threat = Threat.parse("scale{by=2}")
    assert threat_of(threat) is threat
    assert threat_of(Scaled(Numbers(2))) == threat == threat_of("scale{by=2}")
    assert threat_of(None) is None
    with pytest.raises(GraphpruneError, match="text or a threat model, not int"):
        threat_of(3)  # type: ignore[arg-type]


def test_what_is_known_must_be_of_the_same_threat(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    plain = gp.attack(tiny, images[0], effort="fast")
    scaled = gp.attack(tiny, images[0], effort="fast", threat="scale{by=0.5}")
    for known, threat, said in (
        (plain, "scale{by=0.5}", "on another threat"),
        (scaled, None, "on another threat"),
        (plain, "patch", "not among those asked about"),
    ):
        with pytest.raises(GraphpruneError, match=said):
            gp.distance(tiny, images[0], threat=threat, known_attack=known)
    again = gp.distance(tiny, images[0], threat="scale{by=0.5}", known_attack=scaled)
    assert again.status == "exact"


def test_settings_know_their_threat() -> None:
    chosen = Settings(threat="scale{by=2+3}")  # type: ignore[arg-type]
    again = Settings.from_json(chosen.to_json())
    assert again.to_json() == chosen.to_json()
    assert chosen.to_json()["threat"] == "scale{by=2+3}"
    assert "threat" not in Settings().to_json()


def test_a_margin_is_asked_for_behind_a_threat(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    network = Threat.parse("normalise{mean=0.1 std=0.5}").prepared(tiny, Domain())
    anchor = gp.Anchor(images[0].x, int(run_original(network, images[0].x[None]).argmax()))
    raised = gp.with_margin(network, anchor.label, 0.5)
    scores, moved = (run_original(n, anchor.x[None])[0] for n in (network, raised))
    assert np.allclose(moved - scores, 0.5 * (np.arange(10) == anchor.label), atol=1e-5)
    assert raised.source.entry is not None
