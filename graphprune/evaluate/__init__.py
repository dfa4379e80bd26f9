"""Metrics, estimates and runs over anchors.

Called, as ``gp.evaluate(network, x, y, metrics=("rob",))``, it is the function
:func:`graphprune.evaluate.table.evaluate`, whose docstring has the parameters.

In come networks, anchors and `Settings`; out comes an `Outcome` with one JSON document per network
and the adversarial points behind its upper bounds. A `Job` is cut into `Task`s (a metric of an
anchor, or an estimate of it), an executor does them here, in processes or on a cluster, a `Store`
keeps every `Result`, and `serialise.py` alone knows their JSON. Read `results.py`, `tasks.py` and
`run.py` first; `distance.py` is the exact distance, `estimates/` has one file per estimator.
"""

import inspect
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphprune.evaluate.table import Evaluation


class _CallablePackage(ModuleType):
    """This package, called: the public function `gp.evaluate` has its name."""

    def __call__(self, *args: Any, **options: Any) -> "Evaluation":
        """Call :func:`graphprune.evaluate.table.evaluate`."""
        from graphprune.evaluate.table import evaluate

        return evaluate(*args, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        """The signature of the function, loaded when somebody asks."""
        from graphprune.evaluate.table import evaluate

        return inspect.signature(evaluate)


sys.modules[__name__].__class__ = _CallablePackage
