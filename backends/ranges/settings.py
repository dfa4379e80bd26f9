"""Constants of the search over ranges, each with its reason; none of them changes what is true."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RangeSettings:
    """Constants of trees and steps.

    Attributes
    ----------
    least_steps, most_steps, work
        Steps of the ascent in a case, which starts from its parent's parameters: as many as a
        number of multiplications allows, within limits. On small networks they cost little, and
        multipliers of deep cases need them: 557 cases at 60 steps where 7,000 at 30 did not do.
    root_steps, root_work
        Steps at a root, and the product of steps and neurons that they do not exceed.
    rate
        Size of a case's first step, relative to the range of a mixture: less than that of a root's,
        which would leave the parent's optimum.
    small
        Networks of at most so many neurons have all layers bounded anew in every case, and all
        steps. A perceptron of sixty neurons closes its ball in three quarters of the time without.
    few_steps, near
        Steps for a case of a larger network, and which have the others too: those that lack less
        than a share of what their root lacked.
    first
        Cases per row after which the layers' bounds are optimised.
    layer_steps
        Steps of the ascent for a neuron's bound.
    tried
        Minimisers of a batch that are tried as points.
    """

    least_steps: int = 12
    most_steps: int = 60
    work: float = 2.5e6
    rate: float = 0.12
    root_steps: int = 60
    root_work: int = 1_200_000
    small: int = 32
    few_steps: int = 12
    near: float = 0.1
    first: int = 32
    layer_steps: int = 8
    tried: int = 2


DEFAULT = RangeSettings()
