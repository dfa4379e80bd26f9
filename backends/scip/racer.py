"""SCIP on a question of another process (see :mod:`graphprune.backends.race`).

What arrives is the question, then ``("upper", witness)`` for every better point; what leaves

    ("bounds", lower, proven, processor seconds)    since the last message
    ("point", x)
    ("done", lower, proven, processor seconds)
"""

import os
import pickle
import signal
import sys
import threading
from time import monotonic
from typing import Any

import onnx

from graphprune.backends.protocol import Ledger, Limits, Problem
from graphprune.backends.scip.backend import Scip
from graphprune.canonical import from_proto
from graphprune.clock import processor_seconds
from graphprune.passes.analysis.witness import Witness


class Racer:
    def __init__(self) -> None:
        # Libraries may write to the descriptor of stdout, which is for messages.
        self.out = os.fdopen(os.dup(1), "wb")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        self.better: Witness | None = None
        self.seconds = processor_seconds()

    def tell(self, *message: Any) -> None:
        pickle.dump(message, self.out, pickle.HIGHEST_PROTOCOL)
        self.out.flush()

    def listen(self) -> None:
        """Read points until the parent is gone; then go as well."""
        try:
            while True:
                _, self.better = pickle.load(sys.stdin.buffer)
        except BaseException:
            os._exit(0)

    def run(self) -> None:
        """Work on the question until it is decided or time is over."""
        model, anchor, domain, cutoff, witness, lower, proven, memory, seconds = pickle.load(
            sys.stdin.buffer
        )
        limits = Limits(monotonic() + seconds, memory)
        threading.Thread(target=self.listen, daemon=True).start()
        network = from_proto(onnx.load_model_from_string(model))
        problem = Problem(network, anchor, domain, cutoff)
        ledger = Ledger(problem, witness, lower, proven)

        def say(kind: str) -> None:
            now = processor_seconds()
            self.tell(kind, ledger.lower, ledger.proven, now - self.seconds)
            self.seconds = now

        def progress(message: str) -> None:
            better = self.better
            if better is not None and better.distance < ledger.upper:
                ledger.witness = better
            say("bounds")

        ledger.progress = progress
        ledger.improved = lambda found: self.tell("point", found.x)
        Scip().run(ledger, limits)
        say("done")


if __name__ == "__main__":
    # Ctrl-C is the parent's to hear.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Racer().run()
