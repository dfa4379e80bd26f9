"""Affine forms against exact arithmetic and points, and what they gain over intervals."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune.bounds import Boxes, Forms, pre_activation_bounds
from graphprune.bounds.forms import AffineForms
from graphprune.errors import OutOfTimeError
from graphprune.region import Ball, Box
from graphprune.runtime.reference import forward64
from graphprune.runtime.resources import Resources, using
from graphprune.testing import networks
from tests.bounds.test_bounds import exact_forward, hostile
from tests.conftest import Floor, random_points
from tests.oracles import Perceptron


@pytest.mark.parametrize("kind", ["plain", "scales", "cancelling", "tiny", "denormal"])
def test_forms_hold_in_exact_arithmetic(kind: str) -> None:
    """By themselves and beside other bounds, on two boxes at once."""
    rng = np.random.default_rng(len(kind))
    for _ in range(4):
        net = hostile(rng, kind)
        network = gp.from_proto(net.model())
        balls = [Ball(rng.uniform(0.2, 0.8, 4), r) for r in (1e-7, float(rng.choice([0.0, 0.1])))]
        boxes = Boxes.of(*balls)
        kinds: tuple[Forms, ...] = ("beside", "alone")
        layers = pre_activation_bounds(network, boxes, forms=kinds[rng.integers(2)])
        forms, alone = AffineForms(network, boxes), []
        for index, layer in enumerate(layers):
            alone.append(forms.bounds(index))
            forms.add(index, layer)
        alone.append(forms.bounds(len(layers)))
        for b, ball in enumerate(balls):
            corners = rng.integers(0, 2, (12, 4)).astype(bool)
            for x in np.where(corners, ball.lower, ball.upper):
                for index, z in enumerate(exact_forward(net, x)):
                    for i, v in enumerate(z):
                        lower, upper = (end[b, i] for end in alone[index])
                        assert Fraction(float(lower)) <= v <= Fraction(float(upper))
                        if index < len(layers):
                            lower, upper = layers[index].lower[b, i], layers[index].upper[b, i]
                            assert Fraction(float(lower)) <= v <= Fraction(float(upper))


@given(network=networks(), seed=st.integers(0, 1000), radius=st.sampled_from([0.01, 0.3, 2.0]))
def test_forms_hold_what_points_do(
    floor: Floor, network: gp.Network, seed: int, radius: float
) -> None:
    """A few inputs change, of networks of all kinds."""
    rng = np.random.default_rng(seed)
    center = random_points(network, 2, seed).astype(np.float64)
    change = np.zeros(center[0].size)
    change[rng.permutation(change.size)[:3]] = radius
    change = change.reshape(center[0].shape)
    regions = [Box(x - change, x + change) for x in center]
    boxes = Boxes.of(*regions)
    if not AffineForms.suit(network, boxes):
        return
    layers = pre_activation_bounds(network, boxes)
    for b, region in enumerate(regions):
        points = rng.uniform(region.lower, region.upper, (40, *change.shape))
        logits, *zs = forward64(network, points)
        forms = AffineForms(network, boxes)
        for index, z in enumerate([*zs, logits]):
            lower, upper = (end[b] for end in forms.bounds(index))
            flat = z.reshape(len(z), -1)
            slack = 1e-9 * (1.0 + np.abs(flat))
            assert np.all((flat >= lower - slack) & (flat <= upper + slack))
            floor.checked(flat.size, least=1000)
            if index < len(layers):
                forms.add(index, layers[index])


def test_forms_gain_over_intervals() -> None:
    """Deep neurons move together with few inputs; intervals forget it from layer to layer."""
    net = Perceptron.random(np.random.default_rng(1), [2, 30, 30, 30, 30, 2])
    network = gp.from_proto(net.model())
    boxes = Boxes.of(Ball(np.full(2, 0.5), 0.02))
    plain = pre_activation_bounds(network, boxes, "ibp")
    forms = AffineForms(network, boxes)
    for index, layer in enumerate(plain):
        lower, upper = forms.bounds(index)
        forms.add(index, layer)
    assert np.sum(upper - lower) < 0.4 * np.sum(plain[-1].upper - plain[-1].lower)


def test_forms_are_for_few_inputs_and_matrices_that_fit(mnist_a: gp.Network) -> None:
    center = np.full(mnist_a.input_shape, 0.5)
    change = np.zeros_like(center)
    change.reshape(-1)[:3] = 0.1
    few, many = (Boxes.of(region) for region in (Box(center - change, center + change),
                                                 Ball(center, 0.1)))  # fmt: skip
    assert AffineForms.suit(mnist_a, few)
    assert not AffineForms.suit(mnist_a, many)
    with using(Resources(memory=1 << 10)):
        assert not AffineForms.suit(mnist_a, few)
    with using(Resources(deadline=0.0)), pytest.raises(OutOfTimeError):
        AffineForms(mnist_a, few)


def test_halves_take_over_what_is_known_of_the_whole() -> None:
    """Without a backward pass too, which then takes next to no time."""
    net = Perceptron.random(np.random.default_rng(1), [2, 30, 30, 30, 30, 2])
    network = gp.from_proto(net.model())
    whole, half = (Boxes.of(Ball(np.full(2, 0.5), r)) for r in (0.1, 0.05))
    outer = pre_activation_bounds(network, whole, forms="beside")
    alone, both = (
        pre_activation_bounds(network, half, outer=known, forms="alone") for known in (None, outer)
    )
    for around, one, two in zip(outer, alone, both, strict=True):
        assert np.all(two.lower >= np.maximum(one.lower, around.lower))
        assert np.all(two.upper <= np.minimum(one.upper, around.upper))
    widths = [np.sum(layers[-1].upper - layers[-1].lower) for layers in (both, alone)]
    assert widths[0] < widths[1]
