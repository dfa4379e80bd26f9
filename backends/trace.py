"""Trace of a search that proved a ball: its trees of cases, their slopes and planes.

A recipe, not a proof: :mod:`graphprune.backends.certificate` makes one from it, evaluates every
bound anew and mends what is missing. Neurons have their numbers in the network, so that nothing
here depends on the condensed networks that a search works on.
"""

from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Singles = NDArray[np.float32]
# Splits in order: (path before, the row that is split, its phase); None: no split.
Path: TypeAlias = "tuple[Path, int, int] | None"
# Bytes of slopes that are kept; further cases are noted without.
ROOM: Final = 1 << 28


@dataclass(frozen=True, eq=False)
class ClosedCase:
    """A case that a bound closed.

    Attributes
    ----------
    path
        Its splits.
    slopes, cut_weights
        (rows,) parameters of the bound, as in :mod:`graphprune.backends.relaxation.kernels`; None:
        not kept, or no planes.
    """

    path: Path
    slopes: Singles | None
    cut_weights: Singles | None


@dataclass(frozen=True, eq=False)
class TargetTrace:
    """The tree of one target, as the cases that closed it.

    Attributes
    ----------
    neurons
        (rows,) the neurons that the splits and parameters are about, counted over all
        activations.
    fixed
        (rows,) phases that the root's bounds have fixed: 1, -1; 0: none.
    planes
        (rows, inputs + rows) coefficients of one upper plane per row over the inputs and the
        rows' outputs, where a row has one; None: no planes.
    """

    neurons: NDArray[np.intp]
    fixed: NDArray[np.int8]
    planes: sparse.csr_array | None
    cases: list[ClosedCase] = field(default_factory=list)


@dataclass(eq=False)
class Trace:
    """Traces of the targets that needed a tree or planes, by class."""

    targets: dict[int, TargetTrace] = field(default_factory=dict)
    bytes: int = 0

    def copy(self) -> "Trace":
        """The same, to be told of other cases."""
        own = {t: replace(x, cases=list(x.cases)) for t, x in self.targets.items()}
        return Trace(own, self.bytes)

    def begin(self, target: int, root: TargetTrace) -> None:
        """Begin a target's tree (again)."""
        self.targets[target] = root

    def note(
        self,
        target: int,
        path: Path,
        slopes: NDArray[np.floating],
        cut_weights: NDArray[np.floating],
    ) -> None:
        """Add a closed case of a target."""
        own = self.targets[target]
        planes = own.planes is not None
        if self.bytes > ROOM:
            own.cases.append(ClosedCase(path, None, None))
            return
        single = cut_weights.astype(np.float32) if planes else None
        own.cases.append(ClosedCase(path, slopes.astype(np.float32), single))
        self.bytes += 4 * len(slopes) * (1 + planes)
