"""The outcome of a radius step, for the schedule that chooses the next one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RadiusStep:
    """The outcome of a radius step.

    Attributes
    ----------
    radius
        Proven: nothing adversarial is nearer.
    complete
        Every case is closed on the ball (as small as better points made it).
    nodes
        Branch-and-bound nodes.
    level
        The level it ended on.
    root_seconds, tree_seconds
        Time for the roots and for the trees: only the second grows with the radius.
    stopped
        A time limit ended it.
    full
        Memory was short.
    forecast
        Seconds that its trees should take, where they were given up for that; else None.
    hopeless
        An attempt that margins alone ended, before there were roots.
    """

    radius: float
    complete: bool
    nodes: int
    level: int
    root_seconds: float = 0.0
    tree_seconds: float = 0.0
    stopped: bool = False
    full: bool = False
    forecast: float | None = None
    hopeless: bool = False
