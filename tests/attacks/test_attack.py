"""The attack: its points count, more effort is never worse, limits are obeyed."""

import re
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.attacks import descent as attack_descent
from graphprune.attacks.attack import AttackMethod, Effort, Floats, closest_adversarial
from graphprune.attacks.problem import AttackProblem
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.ir import Query
from graphprune.progress import Interrupted
from graphprune.region import NORMS, Norm
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.runtime.resources import Resources
from graphprune.testing import anchors, networks
from tests.conftest import Floor
from tests.oracles import Perceptron, brute_force_distance

FREE = gp.Domain(-np.inf, np.inf)
EFFORTS: tuple[Effort, ...] = ("fast", "standard", "thorough")
METHODS: tuple[AttackMethod, ...] = ("descent", "pgd")


@given(data=st.data(), norm=st.sampled_from(list(NORMS.values())))
def test_a_point_polished_to_its_end_is_no_farther(
    floor: Floor, data: st.DataObject, norm: Norm
) -> None:
    network = data.draw(networks())
    query = Query(network, data.draw(anchors(network)), norm=norm)
    found, ended = (
        closest_adversarial(query, Resources(), effort="fast", to_end=to_end)
        for to_end in (False, True)
    )
    assert (found.witness is None) == (ended.witness is None)
    floor.checked(found.distance is not None, least=10)
    if found.distance is None or ended.distance is None or ended.witness is None:
        return
    assert ended.distance <= found.distance * (1.0 + 1e-3)
    interval = DistanceInterval(DistanceProblem(network, query.anchor, gp.Domain(), 1.0, norm=norm))
    assert interval.accept(ended.witness, polished=True)
    assert interval.upper <= ended.distance


@pytest.mark.parametrize("method", METHODS)
@given(
    data=st.data(),
    norm=st.sampled_from(list(NORMS.values())),
    domain=st.sampled_from([gp.Domain(), FREE]),
)
def test_every_point_is_adversarial_where_and_as_far_as_it_says(
    floor: Floor, method: AttackMethod, data: st.DataObject, norm: Norm, domain: gp.Domain
) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    found = gp.attack(network, anchor, domain=domain, norm=norm, method=method, effort="fast")
    assert (found.distance is None) == (found.witness is None)
    floor.checked(found.witness is not None, least=10)
    if found.witness is None:
        return
    x = found.witness.x
    assert x.dtype == network.source.dtype
    assert domain.contains(x)
    assert norm.length(x.astype(float) - anchor.x.astype(float)) == found.distance
    for logits in (run_original(network, x[None])[0], forward64(network, x[None])[0][0]):
        assert logits[found.witness.target] >= logits[anchor.label]


@settings(max_examples=8)
@given(st.data(), st.sampled_from(list(NORMS.values())))
def test_more_effort_is_never_worse(floor: Floor, data: st.DataObject, norm: Norm) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    found = [gp.attack(network, anchor, norm=norm, effort=e).distance for e in EFFORTS]
    known = [d for d in found if d is not None]
    assert len(known) in (0, 3)
    floor.checked(len(known), least=6)
    floor.checked(len(known), least=6)
    assert known == sorted(known, reverse=True)


def test_the_effort_order_holds_on_images(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    for anchor in images[:4]:
        fast, standard = (gp.attack(mnist_a, anchor, effort=e).distance for e in EFFORTS[:2])
        assert fast is not None
        assert standard is not None
        assert standard <= fast
        pgd = gp.attack(mnist_a, anchor, method="pgd").distance
        assert pgd is not None
        assert fast < pgd


@pytest.mark.parametrize("norm", NORMS.values())
def test_more_effort_is_never_worse_on_images(
    tiny: gp.Network, images: list[gp.Anchor], norm: Norm
) -> None:
    for anchor in images[2:3]:
        found = [gp.attack(tiny, anchor, norm=norm, effort=e).distance for e in EFFORTS]
        known = [d for d in found if d is not None]
        assert len(known) == 3
        assert known == sorted(known, reverse=True)


@pytest.mark.parametrize("norm", NORMS.values())
def test_small_networks_are_solved(norm: Norm) -> None:
    rng = np.random.default_rng(2)
    tried = solved = 0
    for _ in range(9):
        net = Perceptron.random(rng, [3, 3, 2, 3])
        network = gp.from_proto(net.model())
        x = rng.uniform(0.2, 0.8, 3).astype(np.float32)
        anchor = gp.Anchor(x, int(np.argmax(net.logits(x.astype(float)))))
        exact = brute_force_distance(net, x.astype(float), anchor.label, 0.0, 1.0, norm)
        found = gp.attack(network, anchor, norm=norm).distance
        if found is None:
            continue
        tried += 1
        assert found >= exact * (1 - 1e-5) - 1e-6
        solved += found <= exact * 1.001 + 1e-6
    assert tried >= 3
    assert solved >= tried - 1


def test_without_a_boundary_nothing_is_found() -> None:
    net = Perceptron([np.zeros((4, 3)), np.zeros((3, 4))], [np.ones(4), np.array([2.0, 1.0, 0.0])])
    network = gp.from_proto(net.model())
    anchor = gp.Anchor(np.full(3, 0.5, np.float32), 0)
    for norm in NORMS.values():
        for domain in (gp.Domain(), FREE):
            for method in METHODS:
                found = gp.attack(network, anchor, norm=norm, domain=domain, method=method)
                assert found.distance is None


def test_limits_are_obeyed(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    assert gp.attack(mnist_a, images[0], time_limit=0.0).witness is None
    start = process_time()
    for limit in (1e-3, 0.05):
        gp.attack(mnist_a, images[0], effort="thorough", time_limit=limit)
    # Far below what the effort takes; how far depends on the machine.
    assert process_time() - start < 5.0


def test_pgd_is_the_bisection_of_the_paper(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    """No point closer than the next radius down was missed by more than the precision."""
    found = gp.attack(tiny, images[0], method="pgd")
    best = gp.attack(tiny, images[0])
    assert found.distance is not None
    assert best.distance is not None
    assert best.distance <= found.distance <= best.distance * 1.2 + 0.01


def test_many_classes_are_attacked_through_the_nearest() -> None:
    rng = np.random.default_rng(0)
    net = Perceptron.random(rng, [4, 3, 30])
    network = gp.from_proto(net.model())
    x = rng.uniform(0.2, 0.8, 4).astype(np.float32)
    anchor = gp.Anchor(x, int(np.argmax(net.logits(x.astype(float)))))
    found = gp.attack(network, anchor)
    assert found.distance is not None
    exact = brute_force_distance(net, x.astype(float), anchor.label, 0.0, 1.0)
    assert exact * (1 - 1e-5) <= found.distance <= exact * 1.05


@pytest.mark.parametrize("norm", NORMS.values())
def test_a_steep_class_counts_more_than_a_large_logit(norm: Norm) -> None:
    """Of 40 classes 38 have a larger logit than the nearest one, and hardly depend on the input."""
    slopes = np.zeros((40, 5))
    slopes[1:39, 0], slopes[39] = 2.0**-6, 2.0
    logits = np.linspace(2.0, 1.0, 40)
    network = gp.from_proto(Perceptron([slopes], [logits]).model())
    found = gp.attack(network, gp.Anchor(np.zeros(5, np.float32), 0), norm=norm, domain=FREE)
    assert found.witness is not None
    assert found.witness.target == 39
    assert found.distance == pytest.approx(1.0 / norm.dual_length(slopes[39]), rel=1e-2)


def test_ctrl_c_gives_what_is_found(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    def press(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        gp.attack(mnist_a, images[0], progress=press)
    found = stopped.value.found
    assert isinstance(found, gp.Attack)
    assert found.witness is not None
    best = gp.attack(mnist_a, images[0]).distance
    assert best is not None
    assert best <= found.witness.distance
    for logits in (
        run_original(mnist_a, found.witness.x[None])[0],
        forward64(mnist_a, found.witness.x[None])[0][0],
    ):
        assert logits[found.witness.target] >= logits[images[0].label]


def test_ctrl_c_before_anything_is_found_stays_ctrl_c(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(attack_descent, "descend", press)
    with pytest.raises(KeyboardInterrupt) as stopped:
        gp.attack(tiny, images[0])
    assert not isinstance(stopped.value, Interrupted)


def test_one_output_has_no_boundary() -> None:
    network = gp.from_proto(Perceptron.random(np.random.default_rng(0), [3, 4, 1]).model())
    anchor = gp.Anchor(np.full(3, 0.5, np.float32), 0)
    for ask in (gp.attack, gp.certify, gp.distance):
        with pytest.raises(gp.GraphpruneError, match="one output"):
            ask(network, anchor)


def test_unknown_names_are_told_with_the_nearest(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    for option, wrong, said in (
        ("effort", "fsat", "unknown effort 'fsat'; did you mean 'fast'?"),
        ("method", "pgdd", "unknown attack 'pgdd'; did you mean 'pgd'?"),
        ("norm", "l3", "unknown norm 'l3'"),
    ):
        with pytest.raises(gp.GraphpruneError, match=re.escape(said)):
            gp.attack(tiny, images[0], **{option: wrong})  # type: ignore[arg-type]
    with pytest.raises(gp.GraphpruneError, match="unknown norm 'l3'"):
        gp.certify(tiny, images[0], norm="l3")
    with pytest.raises(gp.GraphpruneError, match="unknown method 'crwn'; did you mean 'crown'?"):
        gp.certify(tiny, images[0], method="crwn")  # type: ignore[arg-type]


def test_points_lie_in_a_domain_whose_ends_are_no_float32(tiny: gp.Network) -> None:
    """float32(0.1) is above 0.1."""
    x = np.full(tiny.input_shape, 0.05, np.float32)
    label = int(np.argmax(run_original(tiny, x[None])[0]))
    found = gp.attack(tiny, gp.Anchor(x, label), domain=gp.Domain(-0.1, 0.1), effort="fast")
    assert found.witness is not None
    assert np.abs(found.witness.x.astype(np.float64)).max() <= 0.1


def test_random_points_of_large_networks_are_drawn_a_batch_at_a_time(
    mnist_a: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    descend = attack_descent.descend

    def counted(problem: AttackProblem, steps: Floats, *rest: Any) -> tuple[Floats, Floats]:
        sizes.append(len(steps))
        return descend(problem, steps, *rest)

    monkeypatch.setattr(attack_descent, "descend", counted)
    whole = gp.attack(mnist_a, images[0])
    assert max(sizes) > 9
    sizes.clear()
    monkeypatch.setattr("graphprune.attacks.attack.rows_at_once", lambda _: 5)
    some = gp.attack(mnist_a, images[0])
    assert max(sizes[1:]) == 5
    assert some.distance is not None
    assert whole.distance is not None
    assert some.distance == pytest.approx(whole.distance, rel=0.1)
