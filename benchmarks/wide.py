"""Wide networks: what attack, certificates and search reach within a limit, and do they hold it?

    python -m benchmarks.wide [--truth DIR] [--only TEXT]... [--anchors N] [--limit S]
    python -m benchmarks.wide --cost FIGURE [--only TEXT]... [--limit S]

First the CIFAR-10 networks of the properties in `vnncomp` and `vnncomp2` of a folder (unless
given, that of GRAPHPRUNE_TRUTH): networks of 3 x 32 x 32 inputs and ten outputs. Anchors are the
centres of the properties' boxes with the network's class, without a domain. Then two networks with
random weights, a VGG-16 and a ResNet-18, on a random image: the seconds of each metric beyond the
limit, and the certified radius, which should be above 0.

With `--cost` instead: what an anchor takes on networks with random weights of a thousand to two
and a half million neurons, as a table and as a figure (.svg or .png).

One thread; seconds and limits are processor seconds, so that a busy machine changes little. Every
row is measured in a process of its own, so that its peak memory is its own.
"""

import argparse
import csv
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import inf, prod
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx

import graphprune as gp
from benchmarks.exact import measure, processor_limits, timed
from benchmarks.random_networks import resnet_18, vgg, vgg_16
from benchmarks.tables import head, row
from graphprune.evaluate.warm import warm_up
from graphprune.report.plots import COLOURS, save_figure
from graphprune.vnnlib import read_property

NOWHERE = gp.Domain(-inf, inf)
INPUTS, CLASSES = 3 * 32 * 32, 10
Wanted = Callable[[str], bool]
RANDOM: dict[str, Callable[[], onnx.ModelProto]] = {"vgg-16": vgg_16, "resnet-18": resnet_18}
# Networks of growing size, the smallest first.
GROWING: dict[str, Callable[[], onnx.ModelProto]] = {
    "vgg-1k": lambda: vgg([[4]], [32], 16, 10),
    "vgg-3k": lambda: vgg([[8], [16]], [64], 16, 10),
    "vgg-12k": lambda: vgg([[8], [16]], [64], 32, 10),
    "vgg-57k": lambda: vgg([[16] * 2, [32] * 2, [64] * 2], [256], 32, 10),
    **RANDOM,
}


@dataclass(frozen=True)
class Task:
    """One row: a network's file and a point, which a property or a seed gives."""

    name: str
    network: Path
    property: Path | None
    limit: float

    def anchor(self, network: gp.Network) -> gp.Anchor:
        """The centre of the property's box, or random pixels; in the network's class."""
        if self.property is None:
            x = np.random.default_rng(0).uniform(0, 1, network.input_shape)
        else:
            x = centre(self.property).reshape(network.input_shape)
        return gp.Anchor(x.astype(network.source.dtype))


@dataclass(frozen=True)
class Wide:
    """Metrics of one anchor, with the processor seconds of each, and the process's peak memory.

    Attributes
    ----------
    crown, alpha, attack
        d_rob by both methods, and d_adv; inf where nothing was found.
    lower, upper
        The ends of d_bnd.
    seconds
        Keys ``attack``, ``crown``, ``alpha`` and ``distance``, in this order.
    memory
        MiB.
    """

    neurons: int
    attack: float
    crown: float
    alpha: float
    lower: float
    upper: float
    seconds: dict[str, float]
    memory: float = 0.0


def centre(path: Path) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The middle of the box of a property's first region, flat."""
    lower, upper = read_property(path).regions[0].box.outward
    return lower + 0.5 * (upper - lower)


def measured(network: gp.Network, anchor: gp.Anchor, limit: float) -> Wide:
    """All metrics of one anchor, each within the limit, without a domain."""
    seconds: dict[str, float] = {}
    found, seconds["attack"] = timed(
        lambda: gp.attack(network, anchor, domain=NOWHERE, time_limit=limit)
    )
    crown, seconds["crown"] = timed(
        lambda: gp.certify(network, anchor, domain=NOWHERE, time_limit=limit)
    )
    alpha, seconds["alpha"] = timed(
        lambda: gp.certify(network, anchor, domain=NOWHERE, method="alpha-crown", time_limit=limit)
    )
    exact, seconds["distance"] = measure(network, anchor, limit, domain=NOWHERE, solver="auto")
    return Wide(
        network.neurons,
        inf if found.distance is None else found.distance,
        crown.radius,
        alpha.radius,
        exact.lower,
        inf if exact.upper is None else exact.upper,
        seconds,
    )


def perform(task: Task) -> Wide | str:
    """Measure a task in this process, whose peak memory becomes that of the row.

    Returns
    -------
    Wide, or str
        The reason where the network is refused.
    """
    # Compiling (once per machine) is not measured.
    warm_up()
    try:
        network = gp.load(task.network)
        with ExitStack() as stack:
            for one in processor_limits():
                stack.enter_context(one)
            found = measured(network, task.anchor(network), task.limit)
    except gp.GraphpruneError as error:
        return str(error).split("\n", 1)[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return replace(found, memory=peak / (2**20 if sys.platform == "darwin" else 2**10))


def alone(task: Task) -> Wide | str:
    """Perform a task in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(perform, task).result()


def is_cifar(path: Path) -> bool:
    """Tell by its shapes if a file classifies images of CIFAR-10."""
    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    sizes = [
        [
            prod(d.dim_value for d in value.type.tensor_type.shape.dim if d.dim_value > 0)
            for value in values
            if value.name not in constants
        ]
        for values in (graph.input, graph.output)
    ]
    return sizes == [[INPUTS], [CLASSES]]


def cifar_tasks(truth: Path, wanted: Wanted, anchors: int, limit: float) -> Iterator[Task]:
    """The first distinct centres of the properties of every wanted CIFAR network."""
    known: dict[Path, list[Path]] = {}
    for folder in (truth / "vnncomp", truth / "vnncomp2"):
        if (folder / "index.csv").exists():
            with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
                for entry in csv.DictReader(file):
                    known.setdefault(folder / entry["onnx"], []).append(folder / entry["vnnlib"])
    for network, properties in known.items():
        if not wanted(network.stem) or not is_cifar(network):
            continue
        points: set[bytes] = set()
        for path in properties:
            if len(points) == anchors:
                break
            point = centre(path).astype(np.float32).tobytes()
            if point not in points:
                points.add(point)
                yield Task(f"{network.stem} {len(points)}", network, path, limit)


CIFAR_HEAD = (
    "network, anchor", "neurons", "d_adv", "CROWN", "alpha-CROWN", "lower", "upper", "lower/upper",
    "lower/CROWN", "lower/alpha", "CPU s: attack", "CROWN", "alpha", "distance", "peak MiB",
)  # fmt: skip


def ratio(a: float, b: float) -> str:
    return f"{a / b:.3f}" if b > 0 else "-"


def cifar_row(task: Task, found: Wide) -> str:
    """The row of the table of `CIFAR_HEAD`."""
    ends = (found.attack, found.crown, found.alpha, found.lower, found.upper)
    ratios = [ratio(found.lower, other) for other in (found.upper, found.crown, found.alpha)]
    seconds = [f"{value:.1f}" for value in found.seconds.values()]
    cells = (
        task.name, found.neurons, *(f"{end:.5f}" for end in ends), *ratios, *seconds,
        f"{found.memory:.0f}",
    )  # fmt: skip
    return row(cells)


RANDOM_HEAD = (
    "network", "neurons", "limit, s", "s beyond it: attack", "CROWN", "alpha", "distance", "d_adv",
    "d_rob", "d_bnd", "all certified above 0", "peak MiB",
)  # fmt: skip


def random_row(task: Task, found: Wide) -> str:
    """The row of the table of `RANDOM_HEAD`."""
    beyond = [f"{max(0.0, value - task.limit):.1f}" for value in found.seconds.values()]
    certified = min(found.crown, found.alpha, found.lower) > 0
    cells = (
        task.name, found.neurons, f"{task.limit:g}", *beyond, f"{found.attack:.2e}",
        f"{max(found.crown, found.alpha):.2e}", f"[{found.lower:.2e}, {found.upper:.2e}]",
        "yes" if certified else "no", f"{found.memory:.0f}",
    )  # fmt: skip
    return row(cells)


def random_tasks(
    folder: Path, wanted: Wanted, limit: float, made: dict[str, Callable[[], onnx.ModelProto]]
) -> Iterator[Task]:
    """The wanted ones of networks with random weights, written into a folder."""
    for name in filter(wanted, made):
        path = folder / f"{name}.onnx"
        onnx.save(made[name](), path)
        yield Task(name, path, None, limit)


COST_HEAD = (
    "network", "neurons", "s: attack", "CROWN", "alpha", "distance", "peak MiB", "d_adv", "CROWN",
    "alpha", "lower", "upper",
)  # fmt: skip


def cost_row(task: Task, found: Wide) -> str:
    """The row of the table of `COST_HEAD`."""
    ends = (found.attack, found.crown, found.alpha, found.lower, found.upper)
    seconds = [f"{value:.2f}" for value in found.seconds.values()]
    cells = (
        task.name, found.neurons, *seconds, f"{found.memory:.0f}", *(f"{e:.2e}" for e in ends)
    )  # fmt: skip
    return row(cells)


def draw_costs(found: list[Wide], limit: float, path: Path) -> None:
    """Draw the seconds of every metric, and the peak memory, against the number of neurons."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    neurons = [one.neurons for one in found]
    for colour, metric in zip(COLOURS, found[0].seconds, strict=False):
        seconds = [one.seconds[metric] for one in found]
        axes.plot(neurons, seconds, "o-", ms=4, color=colour, label=metric)
    axes.axhline(limit, color="0.6", lw=0.8)
    axes.set(xscale="log", yscale="log", xlabel="neurons", ylabel="processor seconds per anchor")
    memory = axes.twinx()
    memory.plot(
        neurons, [one.memory for one in found], "s:", ms=4, color="0.4", label="peak memory"
    )
    memory.set(yscale="log", ylabel="MiB")
    lines = [*axes.get_lines()[:-1], *memory.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], frameon=False, fontsize=8)
    save_figure(figure, path)


def table(
    tasks: Iterator[Task], names: tuple[str, ...], write: Callable[[Task, Wide], str]
) -> list[Wide]:
    """Print the rows, each when it is there; a refused network's is its reason."""
    measured = []
    for place, task in enumerate(tasks):
        if place == 0:
            print("\n" + head(names))
        found = alone(task)
        text = row((task.name, found)) if isinstance(found, str) else write(task, found)
        print(text, flush=True)
        if isinstance(found, Wide):
            measured.append(found)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    truth = os.environ.get("GRAPHPRUNE_TRUTH")
    parser.add_argument("--truth", type=Path, default=truth and Path(truth))
    parser.add_argument("--only", action="append", help="networks whose name contains this")
    parser.add_argument("--anchors", type=int, default=2, help="of every CIFAR network")
    parser.add_argument("--limit", type=float, default=60.0, help="processor seconds per metric")
    parser.add_argument("--cost", type=Path, help="what sizes cost, drawn into this file")
    options = parser.parse_args()

    def wanted(name: str) -> bool:
        return not options.only or any(text in name for text in options.only)

    if options.cost is not None:
        with tempfile.TemporaryDirectory() as folder:
            tasks = random_tasks(Path(folder), wanted, options.limit, GROWING)
            draw_costs(table(tasks, COST_HEAD, cost_row), options.limit, options.cost)
        return
    if options.truth is None:
        print("no CIFAR networks: give their folder by --truth, or set GRAPHPRUNE_TRUTH")
    else:
        tasks = cifar_tasks(options.truth, wanted, options.anchors, options.limit)
        table(tasks, CIFAR_HEAD, cifar_row)
    with tempfile.TemporaryDirectory() as folder:
        tasks = random_tasks(Path(folder), wanted, options.limit, RANDOM)
        table(tasks, RANDOM_HEAD, random_row)


if __name__ == "__main__":
    main()
