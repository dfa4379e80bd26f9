"""Products with one row: its runs of neighbouring columns become vector instructions."""

from graphprune.backends.relaxation.kernels.types import CondensedRows, CuttingPlanes, Floats
from graphprune.runtime.jit import fast_part, kernel_part


@kernel_part
def add_row(rows: CondensedRows, j: int, m: float, a: Floats) -> None:
    """Add m times row j to the coefficients `a` of the basis."""
    for r in range(rows.row_runs[j], rows.row_runs[j + 1]):
        first, last = rows.runs[r], rows.runs[r + 1]
        column = rows.indices[first]
        to, row = a[column : column + last - first], rows.values[first:last]
        for i in range(last - first):
            to[i] += m * row[i]


@kernel_part
def add_row_and_plane(
    rows: CondensedRows, planes: CuttingPlanes, j: int, m: float, p: float, a: Floats
) -> None:
    """Add m times row j and p times its plane: one rounding of every coefficient's sum."""
    for r in range(rows.row_runs[j], rows.row_runs[j + 1]):
        first, last = rows.runs[r], rows.runs[r + 1]
        column = rows.indices[first]
        to = a[column : column + last - first]
        row, plane = rows.values[first:last], planes.values[first:last]
        for i in range(last - first):
            to[i] += m * row[i] + p * plane[i]


@fast_part
def row_value(rows: CondensedRows, values: Floats, j: int, v: Floats) -> float:
    """Return row j at a point of the basis, without its offset; no more than a guide (no margin).

    Parameters
    ----------
    values
        Those of the rows, or of planes on their support.
    """
    total = 0.0
    for r in range(rows.row_runs[j], rows.row_runs[j + 1]):
        first, last = rows.runs[r], rows.runs[r + 1]
        column = rows.indices[first]
        at, own = v[column : column + last - first], values[first:last]
        for i in range(last - first):
            total += own[i] * at[i]
    return total
