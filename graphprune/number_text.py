"""Distances and radii as tables, progress lines and pages write them."""

# Below this, five decimals would say too little of a distance, or 0 of one that is above it.
SMALL = 1e-3


def number_text(value: float) -> str:
    """Write a distance in five decimals, a small one in three digits and a power of ten."""
    return f"{value:.2e}" if 0.0 < abs(value) < SMALL else f"{value:.5f}"


def interval_text(lower: float, upper: float | None, status: str, *, certified: bool = True) -> str:
    """Write d_bnd as tables do; an end that rests on a solver's numerics is marked by a star."""
    mark = "" if certified else "*"
    if status == "exact" and upper is not None:
        return f"{number_text(upper)}{mark}"
    if status == "robust":
        return f">= {number_text(lower)}{mark} (robust)"
    return f"[{number_text(lower)}{mark}, {'?' if upper is None else number_text(upper)}]"
