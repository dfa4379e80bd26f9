"""HiGHS as every linear program here uses it: silent, one thread, the simplex method."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import highspy
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

INFINITY = highspy.kHighsInf
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Optimum:
    """An optimal solution, with a finite number for every column and row.

    Attributes
    ----------
    value
        The objective's.
    columns, reduced
        Values and reduced costs of the columns.
    duals
        Multipliers of the rows.
    """

    value: float
    columns: Floats
    reduced: Floats
    duals: Floats


class Solver(highspy.Highs):
    """HiGHS without its banner, which the class' own constructor prints before it can be asked
    not to (it registers callbacks, which nothing here uses).

    Parameters
    ----------
    options
        More of HiGHS' options, by name.
    """

    def __init__(self, **options: str | int | float | bool) -> None:
        super(highspy.Highs, self).__init__()
        always: dict[str, str | int | float | bool] = {
            "output_flag": False, "threads": 1, "solver": "simplex",
        }  # fmt: skip
        for option, value in (always | options).items():
            self.setOptionValue(option, value)
        # Rows with an entry of 1e15 or more are refused, all of their block: then what is left is
        # another program, and its answers are of no use.
        self._whole = True

    def run_for(self, seconds: float) -> None:
        """Solve, or go on, for so many seconds at most."""
        self.setOptionValue("time_limit", self.getRunTime() + min(max(seconds, 0.0), INFINITY))
        self.run()

    @property
    def infeasible(self) -> bool:
        """True where the last run says that the program has no point."""
        return self._whole and self.getModelStatus() == highspy.HighsModelStatus.kInfeasible

    def optimum(self) -> Optimum | None:
        """The optimum of the last run; None where it was stopped, or numerics left none.

        On badly scaled programs HiGHS may say "optimal" and hand back empty arrays, or NaN.
        """
        if not self._whole or self.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        found = self.getSolution()
        columns, reduced, duals = (
            np.array(part, np.float64) for part in (found.col_value, found.col_dual, found.row_dual)
        )
        sizes = (self.getNumCol(), self.getNumCol(), self.getNumRow())
        for part, size in zip((columns, reduced, duals), sizes, strict=True):
            if len(part) != size or not np.all(np.isfinite(part)):
                return None
        return Optimum(self.getInfo().objective_function_value, columns, reduced, duals)

    def add_rows(self, *block: Any) -> None:
        """Add a block of rows, the arguments as those of ``addRows``."""
        if self.addRows(*block) == highspy.HighsStatus.kError:
            self._whole = False

    def add_matrix(
        self,
        matrix: "csr_array[Any]",
        lower: Floats,
        upper: Floats,
    ) -> None:
        """Rows lower <= matrix . v <= upper, over columns that are there already."""
        self.add_rows(
            matrix.shape[0], lower, upper, matrix.nnz, matrix.indptr[:-1].astype(np.int32),
            matrix.indices.astype(np.int32), matrix.data,
        )  # fmt: skip
