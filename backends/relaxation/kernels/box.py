"""The least value of a row over a box, and the radius of a cube where it reaches 0."""

from graphprune.backends.relaxation.kernels.types import Floats, RegionBox
from graphprune.runtime.jit import kernel_part

# Half the distance from 1 to the next number.
UNIT = 2.0**-53


@kernel_part
def box_minimum(coefficients: Floats, box: RegionBox, point: Floats) -> tuple[float, float]:
    """Return the least value over the box of the inputs' part, and its error.

    The minimiser goes into `point`.
    """
    value = 0.0
    error = 0.0
    for i in range(len(box.lower)):
        c = coefficients[i]
        x = box.lower[i] if c > 0.0 else box.upper[i]
        point[i] = x
        value += c * x
        error += abs(c) * box.error[i]
    return value, error


@kernel_part
def box_root(coefficients: Floats, box: RegionBox, constant: float) -> float:
    """Return the radius of a cube at which a linear bound over the inputs reaches 0, from below.

    As a function of the radius the minimum over the box is convex, piecewise linear and falls, so
    Newton's steps from a radius where it is positive never pass the root.
    """
    radius = 0.0
    shorter = 1.0 - 1e-12 - 4.0 * UNIT * len(box.lower)
    for _ in range(50):
        value = constant
        slope = 0.0
        for i in range(len(box.lower)):
            c = coefficients[i]
            room = box.center[i] - box.lower[i] if c > 0.0 else box.upper[i] - box.center[i]
            value += c * box.center[i] - abs(c) * min(room, radius)
            if room > radius:
                slope += abs(c)
        if value <= 0.0 or slope == 0.0:
            break
        step = value / slope
        radius += step * shorter
        if step <= 1e-9 * radius:
            break
    return radius
