"""HiGHS as every linear program here uses it: silent, one thread, the simplex method."""

from typing import TYPE_CHECKING, Any

import highspy
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

INFINITY = highspy.kHighsInf


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

    def add_matrix(
        self,
        matrix: "csr_array[Any]",
        lower: NDArray[np.float64],
        upper: NDArray[np.float64],
    ) -> None:
        """Rows lower <= matrix . v <= upper, over columns that are there already."""
        self.addRows(
            matrix.shape[0], lower, upper, matrix.nnz, matrix.indptr[:-1].astype(np.int32),
            matrix.indices.astype(np.int32), matrix.data,
        )  # fmt: skip
