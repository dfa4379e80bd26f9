"""The pass around :mod:`graphprune.bounds`."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.attacks.attack import Attack
from graphprune.bounds import (
    Boxes,
    LayerBounds,
    Method,
    pre_activation_bounds,
)
from graphprune.bounds.hidden import describe_bounds, shaped_bounds
from graphprune.errors import PipelineError
from graphprune.ir import annotate
from graphprune.ir.network import pre_activation
from graphprune.passes.base import Facts, Promise, State, provides, register_pass
from graphprune.region import Ball, Region


@dataclass(frozen=True, eq=False)
class BallBounds:
    """Bounds of every layer over a ball around the anchor, or over the pipeline's box."""

    region: Region
    method: str
    layers: list[LayerBounds]


@provides(BallBounds)
@register_pass
@dataclass(frozen=True)
class BoundsPass:
    """Bound every pre-activation over the ball.

    Annotates every pre-activation with `PreActivationBounds`. The radius is d_adv (the attack is
    run when it has not been) unless one is given. Without an anchor the bounds hold on the
    pipeline's box.
    """

    name: ClassVar[str] = "bounds"
    promise: ClassVar[Promise] = "everywhere"
    needs: ClassVar[Facts] = frozenset({Attack})

    method: Method = "crown"
    radius: float | None = None

    def run(self, state: State) -> State:
        region, state = self._region(state)
        layers = pre_activation_bounds(state.network, Boxes.of(region), self.method)
        shaped = shaped_bounds(state.network, region, layers, self.method)
        for activation, bounds in zip(state.network.activations, shaped, strict=True):
            annotate(pre_activation(activation), bounds)
        notes = describe_bounds(state.network, layers)
        return state.with_fact(BallBounds(region, self.method, layers)).noting(*notes)

    def _region(self, state: State) -> tuple[Region, State]:
        if state.box is not None and self.radius is None:
            return state.box, state
        return ball_of(state, self.name, self.radius)


def ball_of(state: State, name: str, radius: float | None) -> tuple[Ball, State]:
    """The linf ball of the radius asked for, or that of d_adv in the attack's norm."""
    anchor = state.the_anchor(name)
    if radius is not None:
        if not radius >= 0:
            raise PipelineError(f"pass '{name}': radius must be >= 0, not {radius}")
        return anchor.ball(radius, state.domain), state
    found, state = state.need(Attack)
    if found.distance is None:
        raise PipelineError(
            f"pass '{name}': the attack found no adversarial point; give the radius as an option"
        )
    return anchor.ball(found.distance, state.domain, found.norm), state
