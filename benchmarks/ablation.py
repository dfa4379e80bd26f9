"""Every technique of the search switched off once, on each kind of network.

    python -m benchmarks.ablation [--truth DIR] [--limit S] [--images N] [--only TEXT]...
        [--technique TEXT]...

Kinds are networks that were trained plainly, against attacks, with weight decay and for stable
neurons, two dense layers of 500, and a CIFAR-10 network. Cells are lower/upper, the mean over a
kind's images, or where all of them are exact, the seconds in all. Limits are processor seconds, of
attack and certificate too. The folder holds the networks that are not shipped; unless given it is
the one that GRAPHPRUNE_TRUTH names, and without it they are left out.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np

import graphprune as gp
from benchmarks.barrier import right
from benchmarks.exact import MODELS, measure, processor_limits
from benchmarks.switches import TECHNIQUES, without
from benchmarks.tables import head, row
from benchmarks.wide import centre
from graphprune.evaluate.warm import warm_up


@dataclass(frozen=True)
class Kind:
    """A network and images of it.

    Attributes
    ----------
    path
        In the folder that is given, unless the network is shipped.
    properties
        Files in that folder whose boxes' centres are the images; none: MNIST test images.
    """

    name: str
    path: str | None = None
    properties: tuple[str, ...] = ()

    def file(self, truth: Path | None) -> Path | None:
        """The network's file, if it is there."""
        if self.path is None:
            return MODELS / f"{self.name}.onnx"
        return None if truth is None or not (truth / self.path).exists() else truth / self.path

    def anchors(self, network: gp.Network, truth: Path | None) -> list[gp.Anchor]:
        """The images that the network classifies rightly."""
        if not self.properties or truth is None:
            return right(network, gp.load_anchors(MODELS / "mnist-test-100.npz", network))
        points = [centre(truth / file).reshape(network.input_shape) for file in self.properties]
        return [gp.Anchor(x.astype(network.source.dtype)) for x in points]


CIFAR = "vnncomp/marabou-cifar10"
KINDS = (
    Kind("A_adv", "hard/A_adv.onnx"),
    Kind("A_wd", "hard/A_wd.onnx"),
    Kind("mnist-a"),
    Kind("mnist-b"),
    Kind("NOR_MLP_B", "barrier/NOR_MLP_B.onnx"),
    Kind("mnist-a-stable"),
    Kind("cifar10_small", f"{CIFAR}/nets/cifar10_small.onnx", tuple(
        f"{CIFAR}/specs/networkcifar10_small_index{name}.vnnlib.gz"
        for name in ("1189_eps0.012_target1_orig0", "6413_eps0.012_target7_orig6")
    )),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Subject:
    """A loaded network with its images."""

    name: str
    network: gp.Network
    anchors: Sequence[gp.Anchor]

    def cell(self, limit: float) -> str:
        """The mean of lower/upper, or the seconds in all where every distance is exact."""
        found = [measure(self.network, anchor, limit) for anchor in self.anchors]
        if all(one.status == "exact" for one, _ in found):
            return f"{sum(seconds for _, seconds in found):.1f} s"
        return f"{np.mean([one.lower / (one.upper or inf) for one, _ in found]):.4f}"


def subjects(truth: Path | None, only: Sequence[str], images: int) -> Iterator[Subject]:
    """The kinds whose networks are there and asked for."""
    for kind in KINDS:
        file = kind.file(truth)
        if file is not None and (not only or any(text in kind.name for text in only)):
            network = gp.load(file)
            yield Subject(kind.name, network, kind.anchors(network, truth)[:images])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    truth = os.environ.get("GRAPHPRUNE_TRUTH")
    parser.add_argument("--truth", type=Path, default=truth and Path(truth))
    parser.add_argument("--limit", type=float, default=10.0, help="processor seconds an image")
    parser.add_argument("--images", type=int, default=1, help="so many of each kind")
    parser.add_argument("--only", action="append", default=[], help="kinds with this in the name")
    parser.add_argument("--technique", action="append", default=[], help="those with this in it")
    options = parser.parse_args()
    every = list(subjects(options.truth, options.only, options.images))
    # Compiling (once per machine) is not measured.
    warm_up()
    print(head(["switched off", *(one.name for one in every)]), flush=True)
    with ExitStack() as stack:
        for one in processor_limits():
            stack.enter_context(one)
        for name in TECHNIQUES:
            if not options.technique or any(text in name for text in options.technique):
                with without(name):
                    cells = [one.cell(options.limit) for one in every]
                print(row([name, *cells]), flush=True)


if __name__ == "__main__":
    main()
