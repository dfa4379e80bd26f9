"""SCIP on a question of another process (see :mod:`graphprune.backends.race`).

It receives the question, then ``("upper", witness)`` for every better point, and sends

    ("bounds", lower, proven, processor seconds)    since the last message
    ("point", x)
    ("done", lower, proven, processor seconds)
"""

from time import monotonic

import onnx

from graphprune.attacks.confirm import Witness
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.scip.backend import Scip
from graphprune.canonical import from_proto
from graphprune.clock import processor_seconds
from graphprune.runtime.process import Parent
from graphprune.runtime.resources import Resources


class ScipRacer:
    def __init__(self) -> None:
        self.parent = Parent()
        self.better: Witness | None = None
        self.seconds = processor_seconds()

    def hear(self, kind: str, witness: Witness) -> None:
        """A better point is known."""
        self.better = witness

    def run(self) -> None:
        """Work on the question until it is decided or time is over."""
        model, anchor, domain, norm, cutoff, target, witness, *rest = self.parent.read()
        lower, proven, memory, seconds = rest
        resources = Resources(monotonic() + seconds, memory)
        self.parent.listen(self.hear)
        network = from_proto(onnx.load_model_from_string(model))
        problem = DistanceProblem(network, anchor, domain, cutoff, target=target, norm=norm)
        interval = DistanceInterval(problem, witness, lower, proven)

        def say(kind: str) -> None:
            now = processor_seconds()
            self.parent.tell(kind, interval.lower, interval.proven, now - self.seconds)
            self.seconds = now

        def progress(message: str) -> None:
            better = self.better
            if better is not None and better.distance < interval.upper:
                interval.witness = better
                interval.refute()
            say("bounds")

        interval.progress = progress
        interval.improved = lambda found: self.parent.tell("point", found.x)
        Scip().run(interval, resources)
        say("done")


if __name__ == "__main__":
    ScipRacer().run()
