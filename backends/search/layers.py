"""Bounds of the layers on a ball, before anything is condensed: what all targets share."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphprune.backends.protocol import DistanceProblem
from graphprune.backends.search.settings import StepSettings
from graphprune.bounds import (
    Boxes,
    LayerBounds,
    linear_bounds,
    optimised_bounds,
    pre_activation_bounds,
)
from graphprune.bounds.certify import margin_rows
from graphprune.region import Region
from graphprune.runtime.original import run_original
from graphprune.runtime.resources import Resources, current, using


def crown_layers(problem: DistanceProblem, ball: Region, deadline: float) -> list[LayerBounds]:
    """Return bounds of all pre-activations; where time is over, as interval arithmetic has them."""
    with using(replace(current(), deadline=deadline)):
        return pre_activation_bounds(problem.network, Boxes.of(ball))


def optimised_layers(
    problem: DistanceProblem, ball: Region, layers: list[LayerBounds], resources: Resources,
    settings: StepSettings,
) -> list[LayerBounds]:  # fmt: skip
    """Return tighter bounds of a wide network's layers: lines that suit each neuron.

    Those of others are returned as they are.
    """
    if unstable_in(layers) < settings.wide:
        return layers
    within = resources.within(settings.optimised_share * resources.remaining())
    with using(replace(current(), deadline=within.deadline)):
        return optimised_bounds(
            problem.network, Boxes.of(ball), layers, steps=settings.optimised_steps
        )


def unstable_in(layers: Sequence[LayerBounds]) -> int:
    """Count the unstable neurons of layers with bounds."""
    return sum(int(np.sum(layer.unstable)) for layer in layers)


def promising(
    problem: DistanceProblem, ball: Region, layers: Sequence[LayerBounds], share: float
) -> bool:
    """Return False where the margins alone tell that roots prove less than a share of a ball.

    A pass over them costs a small part of condensing a wide network. The radius where they become
    0 is guessed along the line from the anchor's own margins, which is too far.
    """
    network, anchor = problem.network, problem.anchor
    rows = margin_rows(network, anchor.label, problem.target)
    here = rows @ run_original(network, anchor.x[None])[0].astype(np.float64)
    there = linear_bounds(network, Boxes.of(ball), layers, rows)[0]
    return bool(np.all(here >= share * (here - np.minimum(there, 0.0))))
