"""Input splitting for networks with smooth activations: CROWN bounds of many small boxes a batch.

The compiled kernels of :mod:`graphprune.backends.verify.inputs` know ReLU only; here the general
bounds do the work, whose relaxations of smooth functions become exact as boxes shrink.
"""

from collections.abc import Sequence

import numpy as np

from graphprune.backends.verify.query import RegionResult, VerificationQuery
from graphprune.backends.verify.region_halving import BoxLimits, OpenBox, RegionHalving
from graphprune.backends.verify.root import excluded
from graphprune.progress import Progress, quiet

LIMITS = BoxLimits(batch=512, open=500_000, starts=32, first=64)


def split_boxes(query: VerificationQuery, progress: Progress = quiet) -> RegionResult:
    """Decide a region by halving its box, the part with the least violating centre first.

    Neither `unsat` nor a point: the deadline has passed, or boxes too small to split are left.
    """

    def bound(picked: Sequence[OpenBox[None]], others: int) -> list[OpenBox[None]]:
        closed = np.all(excluded(query, OpenBox.boxes(picked)), axis=1)
        return [box for box, out in zip(picked, closed, strict=True) if not out]

    return RegionHalving(query, None, bound, LIMITS, progress, bounded=False).run()
