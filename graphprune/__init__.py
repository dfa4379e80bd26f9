"""graphprune: how far is the decision boundary of a network in ONNX?

    import graphprune as gp

    network = gp.load("model.onnx")
    anchor = gp.Anchor(x, label)
    gp.attack(network, anchor).distance           # d_adv, an upper bound
    gp.certify(network, anchor).radius            # d_rob, a certified lower bound
    gp.distance(network, anchor, time_limit=60)   # d_bnd, an interval with a status
    gp.evaluate(network, x, y, metrics=("adv", "rob"))    # a table of many points

    pipeline = gp.Pipeline.parse("prune-constant{gamma=0.75}, fuse-affine")
    substitute = pipeline.run(network, anchor).network
    gp.save(substitute, "substitute.onnx")

Public names are imported at their first use, so that ``import graphprune`` stays fast. Read
``docs/architecture.md`` first, then `ir/network`, `evaluate/distance` and `pipeline/pipeline`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from graphprune.postponed import postpone
from graphprune.version import __version__

if TYPE_CHECKING:
    from graphprune.attacks.attack import Attack, attack
    from graphprune.attacks.confirm import Witness
    from graphprune.bounds.certify import Certificate, certify
    from graphprune.bounds.hidden import hidden_bounds
    from graphprune.bounds.propagate import PreActivationBounds
    from graphprune.canonical import from_proto, load
    from graphprune.canonical.questions import as_classifier, with_margin
    from graphprune.errors import AnchorError, GraphpruneError
    from graphprune.evaluate.anchors import load_anchors
    from graphprune.evaluate.distance import Distance, distance
    from graphprune.evaluate.table import Evaluation, evaluate
    from graphprune.ir import Network
    from graphprune.ir.export import save, to_proto
    from graphprune.pipeline import BrokenPromiseError, Pipeline, PipelineResult
    from graphprune.progress import Interrupted
    from graphprune.region import Anchor, Ball, Box, Domain
    from graphprune.runtime.from_torch import from_torch

postpone()

_HOMES = {
    "Anchor": "graphprune.region",
    "AnchorError": "graphprune.errors",
    "Attack": "graphprune.attacks.attack",
    "Ball": "graphprune.region",
    "Box": "graphprune.region",
    "BrokenPromiseError": "graphprune.pipeline",
    "Certificate": "graphprune.bounds.certify",
    "Distance": "graphprune.evaluate.distance",
    "Domain": "graphprune.region",
    "Evaluation": "graphprune.evaluate.table",
    "GraphpruneError": "graphprune.errors",
    "Interrupted": "graphprune.progress",
    "Network": "graphprune.ir",
    "Pipeline": "graphprune.pipeline",
    "PipelineResult": "graphprune.pipeline",
    "PreActivationBounds": "graphprune.bounds.propagate",
    "Witness": "graphprune.attacks.confirm",
    "as_classifier": "graphprune.canonical.questions",
    "attack": "graphprune.attacks.attack",
    "certify": "graphprune.bounds.certify",
    "distance": "graphprune.evaluate.distance",
    "evaluate": "graphprune.evaluate",
    "from_proto": "graphprune.canonical",
    "from_torch": "graphprune.runtime.from_torch",
    "hidden_bounds": "graphprune.bounds.hidden",
    "load": "graphprune.canonical",
    "load_anchors": "graphprune.evaluate.anchors",
    "save": "graphprune.ir.export",
    "to_proto": "graphprune.ir.export",
    "with_margin": "graphprune.canonical.questions",
}

__all__ = [
    "Anchor",
    "AnchorError",
    "Attack",
    "Ball",
    "Box",
    "BrokenPromiseError",
    "Certificate",
    "Distance",
    "Domain",
    "Evaluation",
    "GraphpruneError",
    "Interrupted",
    "Network",
    "Pipeline",
    "PipelineResult",
    "PreActivationBounds",
    "Witness",
    "__version__",
    "as_classifier",
    "attack",
    "certify",
    "distance",
    "evaluate",
    "from_proto",
    "from_torch",
    "hidden_bounds",
    "load",
    "load_anchors",
    "save",
    "to_proto",
    "with_margin",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'graphprune' has no attribute '{name}'")
    module = import_module(_HOMES[name])
    # The package `graphprune.evaluate` is itself what is called.
    value = module if module.__name__ == f"graphprune.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
