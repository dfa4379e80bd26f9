"""The relaxation of one neuron h = relu(z), low < z < high: the lines that replace it in a row."""

from graphprune.runtime.jit import kernel_part


@kernel_part
def relax_neuron(
    c: float, phase: int, slope: float, weight: float, low: float, high: float
) -> tuple[float, float, float]:
    """Return multiples (row, plane) and a constant whose sum is at most c h where `phase` holds.

    Parameters
    ----------
    slope
        Slope of the lower line, or the multiplier of the split's constraint.
    weight
        Share of the neuron's cutting plane in its upper bound; 0 where it has none.
    """
    if phase == 1:
        return c - slope, 0.0, 0.0
    if phase == -1:
        return slope, 0.0, 0.0
    if c > 0.0:
        return c * slope, 0.0, 0.0
    if c < 0.0:
        m = c * (1.0 - weight) * (high / (high - low))
        return m, c * weight, -m * low
    return 0.0, 0.0, 0.0


@kernel_part
def upper_line(z: float, low: float, high: float) -> float:
    """Return the value of the line through (low, 0) and (high, high) at z."""
    return high / (high - low) * (z - low)
