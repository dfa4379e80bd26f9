"""Boxes through modules: intervals of what a module makes of all tensors of a box.

Training with them makes networks whose bounds are close (Gowal et al. 2018): `image(module, box)`
for every kind of module that the networks here have, and `leads` of a whole transformer.
"""

import math
from collections.abc import Callable
from functools import singledispatch
from typing import NamedTuple

import torch
from smooth import Attention, Block, Transformer
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, linear, one_hot

# The place of GELU's minimum, and its value there.
DIP, LEAST = -0.7517916, -0.1699712
# Scores that are further apart than this are as good as this far: exp stays finite.
FAR = 40.0


class Interval(NamedTuple):
    """All tensors between two, element by element."""

    low: Tensor
    high: Tensor

    @property
    def centre(self) -> Tensor:
        return (self.low + self.high) / 2

    @property
    def spread(self) -> Tensor:
        return (self.high - self.low) / 2

    def map(self, change: Callable[[Tensor], Tensor]) -> "Interval":
        """Both ends, reordered or increased in the same way."""
        return Interval(change(self.low), change(self.high))

    def plus(self, other: "Interval") -> "Interval":
        return Interval(self.low + other.low, self.high + other.high)


def around(centre: Tensor, spread: Tensor) -> Interval:
    return Interval(centre - spread, centre + spread)


@singledispatch
def image(module: nn.Module, box: Interval) -> Interval:
    """The interval of a module's values on a box."""
    raise TypeError(f"no intervals of {type(module).__name__}")


@image.register
def _(module: nn.Sequential, box: Interval) -> Interval:
    for part in module:
        box = image(part, box)
    return box


@image.register
def _(module: nn.Linear, box: Interval) -> Interval:
    return around(module(box.centre), linear(box.spread, module.weight.abs()))


@image.register
def _(module: nn.Conv2d, box: Interval) -> Interval:
    spread = conv2d(box.spread, module.weight.abs(), None, module.stride, module.padding)
    return around(module(box.centre), spread)


@image.register(nn.ReLU)
@image.register(nn.Flatten)
def _(module: nn.Module, box: Interval) -> Interval:
    return box.map(module)


@image.register
def _(module: nn.GELU, box: Interval) -> Interval:
    low, high = box.map(gelu)
    dips = (box.low < DIP) & (box.high > DIP)
    least = torch.where(dips, torch.full_like(low, LEAST), torch.minimum(low, high))
    return Interval(least, torch.maximum(low, high))


@image.register
def _(module: nn.LayerNorm, box: Interval) -> Interval:
    """Normalised tokens whose mean is 0 (`Transformer.centre`): exact for each element alone."""
    low, high = box
    far, near = torch.maximum(high, -low).square(), torch.maximum(low, -high).relu().square()
    width = low.shape[-1]
    # Variance of the others at its most and least; an element's own square moves with it.
    most, least = (part.mean(-1, keepdim=True) + module.eps - part / width for part in (far, near))
    under_low = torch.where(low < 0, least, most) + low**2 / width
    under_high = torch.where(high > 0, least, most) + high**2 / width
    normal = Interval(low / under_low.sqrt(), high / under_high.sqrt())
    return around(normal.centre * module.weight + module.bias, normal.spread * module.weight.abs())


@image.register
def _(module: Attention, box: Interval) -> Interval:
    low, high = (module.parts(end) for end in image(module.keys, box))
    query, key, value = (Interval(*ends) for ends in zip(low, high, strict=True))
    root = math.sqrt(module.sizes[2])
    score = product(query, key.map(lambda end: end.transpose(2, 3) / root))
    return image(module.out, product(shares(score), value).map(module.joined))


@image.register
def _(module: Block, box: Interval) -> Interval:
    box = box.plus(image(module.mix, box))
    return box.plus(image(module.think, box))


def product(left: Interval, right: Interval) -> Interval:
    """The interval of a product of matrices."""
    sizes = left.centre.abs(), right.centre.abs()
    spread = (sizes[0] + left.spread) @ (sizes[1] + right.spread) - sizes[0] @ sizes[1]
    return around(left.centre @ right.centre, spread)


def shares(score: Interval) -> Interval:
    """Softmax over the last axis, exact for each element alone: the others at their other ends."""
    others = 1 - torch.eye(score.low.shape[-1])

    def share(own: Tensor, other: Tensor) -> Tensor:
        ahead = (other.unsqueeze(-2) - own.unsqueeze(-1)).clamp(max=FAR)
        return 1 / (1 + (ahead.exp() * others).sum(-1))

    return Interval(share(score.low, score.high), share(score.high, score.low))


def leads(net: Transformer, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Most that each class's logit is above the label's, on the ball around every image."""
    patches = [net.patches(end.clamp(0, 1)) for end in (x - radius, x + radius)]
    box = Interval(*patches)
    weight = net.embed.weight.flatten(1)
    box = around(
        linear(box.centre, weight, net.embed.bias) + net.place, linear(box.spread, weight.abs())
    )
    box = image(net.blocks, box).map(lambda end: end.mean(dim=1))
    lead = net.head.weight - net.head.weight[y][:, None]
    logits = net.head(box.centre)
    centre = logits - (logits * one_hot(y, 10)).sum(1, keepdim=True)
    return centre + (lead.abs() @ box.spread.unsqueeze(2)).squeeze(2)
