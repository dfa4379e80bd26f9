"""Published tables of "A Convex Relaxation Barrier" (Salman et al. 2019), and the search beside.

    python -m benchmarks.barrier [--folder DIR] [--time-limit S] distortion [--only TEXT]...
    python -m benchmarks.barrier [--folder DIR] [--time-limit S] error NETWORK RADIUS --mnist DIR
        [--first N] [--out FILE.jsonl]

The folder holds the paper's networks and `ten.npz`; unless given it is ``barrier`` in the folder
that GRAPHPRUNE_TRUTH names. `distortion` is the minimum distortion of the ten images, without a
domain, in units of 1e-3; its means are over the images that the network classifies rightly, while
the paper does not say which images its means are over. `error` decides the first test images of
MNIST (the folder holds the IDX files, as they are published) at a radius in [0, 1]; with `--out`
every decided image is a line of JSON, and the same command goes on where it stopped.

One thread; seconds and limits are processor seconds, so that a busy machine changes little, and
attack and certificate are included. Published columns: LP-ALL is the linear program over all
layers, PGD an attack, MILP a search on a cluster that its limits stopped.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Literal, get_args

import numpy as np

import graphprune as gp
from benchmarks.exact import measure, processor_limits
from benchmarks.tables import head, row
from graphprune.evaluate.warm import warm_up
from graphprune.runtime.original import run_original

NOWHERE = gp.Domain(-inf, inf)
UNIT = 1e-3
Verdict = Literal["error", "attacked", "certified", "undecided"]
ERROR, ATTACKED, CERTIFIED, UNDECIDED = VERDICTS = get_args(Verdict)
IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@dataclass(frozen=True)
class PublishedDistortion:
    """Means of ten images in units of 1e-3, and the median gap in per cent."""

    lower: float
    upper: float
    gap: float


@dataclass(frozen=True)
class PublishedError:
    """Shares of all 10,000 test images in per cent: errors, and adversarial ones by each method."""

    test: float
    attack: float
    milp_lower: float
    milp_upper: float
    relaxation: float


DISTORTIONS = {
    "mnist_cnn_small_NOR": PublishedDistortion(18.87, 52.70, 61.40),
    "mnist_cnn_small_ADV": PublishedDistortion(85.94, 155.16, 44.42),
    "mnist_cnn_small_LPD": PublishedDistortion(160.83, 226.72, 26.21),
    "mnist_cnn_wide_1_NOR": PublishedDistortion(16.92, 39.61, 52.66),
    "mnist_cnn_wide_1_ADV": PublishedDistortion(91.76, 142.89, 37.58),
    "mnist_cnn_wide_1_LPD": PublishedDistortion(122.55, 183.66, 30.59),
    "mnist_MLP_9_100_LPD": PublishedDistortion(73.96, 103.87, 26.28),
    "mnist_MLP_2_100_ADV": PublishedDistortion(43.76, 81.22, 33.04),
}

ERRORS = {
    ("ADV_MLP_B_0.1", 0.1): PublishedError(3.33, 15.86, 16.25, 34.37, 61.59),
    ("NOR_MLP_B", 0.02): PublishedError(2.05, 10.06, 10.16, 13.48, 26.41),
    ("NOR_MLP_B", 0.03): PublishedError(2.05, 20.37, 20.43, 48.67, 65.70),
    ("NOR_MLP_B", 0.05): PublishedError(2.05, 53.37, 53.37, 94.04, 97.95),
    ("LPD_MLP_B_0.1", 0.1): PublishedError(4.09, 13.39, 14.45, 14.45, 17.24),
}


@dataclass(frozen=True)
class Distortion:
    """Minimum distortion of one image, as an interval."""

    lower: float
    upper: float
    exact: bool
    seconds: float

    @property
    def gap(self) -> float:
        return 1.0 if self.upper == inf else (self.upper - self.lower) / self.upper


def right(network: gp.Network, anchors: Iterable[gp.Anchor]) -> list[gp.Anchor]:
    """The anchors that the network classifies as they are labelled."""
    return [a for a in anchors if run_original(network, a.x[None])[0].argmax() == a.label]


def distortions(
    network: gp.Network, anchors: Iterable[gp.Anchor], limit: float
) -> Iterator[Distortion]:
    """Minimum distortions without a domain."""
    for anchor in anchors:
        found, seconds = measure(network, anchor, limit, domain=NOWHERE)
        upper = inf if found.upper is None else found.upper
        yield Distortion(found.lower, upper, found.status == "exact", seconds)


DISTORTION_HEAD = (
    "network", "right of ten", "exact", "mean lower", "LP-ALL", "mean upper", "PGD",
    "median gap, %", "published, %", "CPU s, mean", "largest",
)  # fmt: skip


def distortion_row(name: str, found: list[Distortion], published: PublishedDistortion) -> str:
    """One network's row of the table of `DISTORTION_HEAD`."""
    seconds = [one.seconds for one in found]
    cells = (
        name,
        len(found),
        sum(one.exact for one in found),
        f"{np.mean([one.lower for one in found]) / UNIT:.2f}",
        published.lower,
        f"{np.mean([one.upper for one in found]) / UNIT:.2f}",
        published.upper,
        f"{100 * np.median([one.gap for one in found]):.2f}",
        published.gap,
        f"{np.mean(seconds):.1f}",
        f"{max(seconds):.1f}",
    )
    return row(cells)


@dataclass(frozen=True)
class Question:
    """Is anything adversarial within a radius? Asked of a network's images, within a limit."""

    network: str
    radius: float
    limit: float


@dataclass(frozen=True)
class Decision:
    """The answer about one test image."""

    index: int
    verdict: Verdict
    seconds: float


def decide(network: gp.Network, anchor: gp.Anchor, question: Question) -> Decision:
    """Decide one image in [0, 1]; any adversarial point within the radius ends the search."""
    if not right(network, [anchor]):
        return Decision(anchor.index, ERROR, 0.0)
    radius = question.radius
    # Any gap will do: a point within the radius is an answer, however far the proof is from it.
    found, seconds = measure(network, anchor, question.limit, radius=radius, gap=1.0)
    verdict: Verdict = UNDECIDED
    if found.upper is not None and found.upper <= radius:
        verdict = ATTACKED
    elif found.status == "robust" and found.certified:
        verdict = CERTIFIED
    return Decision(anchor.index, verdict, seconds)


class Record:
    """A file of JSON lines, one per decided image, that is gone on with.

    Raises
    ------
    SystemExit
        The file answers another question.
    """

    def __init__(self, path: Path | None, question: Question) -> None:
        self._path, self._question = path, question
        self.known: dict[int, Decision] = {}
        if path is None or not path.exists():
            return
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            # The run that wrote it was killed within a line.
            path.write_text(whole, encoding="utf-8")
        for line in whole.splitlines():
            entry = json.loads(line)
            decision = Decision(*(entry.pop(key) for key in Decision.__dataclass_fields__))
            if entry != asdict(question):
                raise SystemExit(f"{path} answers another question: {entry}; give another --out")
            self.known[decision.index] = decision

    def add(self, decision: Decision) -> None:
        """Remember an answer, in the file too."""
        self.known[decision.index] = decision
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**asdict(self._question), **asdict(decision)}) + "\n")


def decisions(
    network: gp.Network, anchors: Iterable[gp.Anchor], question: Question, record: Record
) -> list[Decision]:
    """Decide the images that the record does not know; the answers of all."""
    anchors = list(anchors)
    for anchor in anchors:
        if anchor.index not in record.known:
            record.add(decide(network, anchor, question))
    return [record.known[anchor.index] for anchor in anchors]


ERROR_HEAD = (
    "network", "radius", "images", *VERDICTS, "adversarial error, %", "CPU s an image", "largest",
    "published: test error, %", "PGD", "MILP", "LP-ALL",
)  # fmt: skip


def error_row(question: Question, found: list[Decision]) -> str:
    """The row of the table of `ERROR_HEAD`; without published columns where there are none."""
    count = {verdict: sum(one.verdict == verdict for one in found) for verdict in VERDICTS}
    share = 100 / len(found)
    low = count[ERROR] + count[ATTACKED]
    seconds = [one.seconds for one in found]
    published = ERRORS.get((question.network, question.radius))
    cells = (
        question.network, question.radius, len(found), *count.values(),
        f"{share * low:.2f} to {share * (low + count[UNDECIDED]):.2f}",
        f"{np.mean(seconds):.2f}", f"{max(seconds):.1f}",
    )  # fmt: skip
    beside = ("-",) * 4 if published is None else (
        published.test, published.attack, f"{published.milp_lower} to {published.milp_upper}",
        published.relaxation,
    )  # fmt: skip
    return row((*cells, *beside))


def distortion_table(folder: Path, only: list[str] | None, limit: float) -> None:
    print(head(DISTORTION_HEAD))
    for name, published in DISTORTIONS.items():
        if only and not any(text in name for text in only):
            continue
        network = gp.load(folder / f"{name}.onnx")
        anchors = right(network, gp.load_anchors(folder / "ten.npz", network))
        found = list(distortions(network, anchors, limit))
        print(distortion_row(name, found, published), flush=True)


def error_table(options: argparse.Namespace, folder: Path) -> None:
    network = gp.load(folder / f"{options.network}.onnx")
    labels = options.mnist / LABELS
    anchors = gp.load_anchors(options.mnist / IMAGES, network, labels=labels)[: options.first]
    question = Question(options.network, options.radius, options.time_limit)
    found = decisions(network, anchors, question, Record(options.out, question))
    print(head(ERROR_HEAD))
    print(error_row(question, found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    truth = os.environ.get("GRAPHPRUNE_TRUTH")
    parser.add_argument("--folder", type=Path, default=truth and Path(truth) / "barrier")
    parser.add_argument("--time-limit", type=float, default=60.0, help="processor seconds an image")
    modes = parser.add_subparsers(dest="mode", required=True)
    distortion = modes.add_parser("distortion")
    distortion.add_argument("--only", action="append", help="networks whose name contains this")
    error = modes.add_parser("error")
    error.add_argument("network")
    error.add_argument("radius", type=float)
    error.add_argument("--mnist", type=Path, required=True, help=f"folder of {IMAGES}, {LABELS}")
    error.add_argument("--first", type=int, default=200, help="so many test images")
    error.add_argument("--out", type=Path, help="file of JSON lines that is gone on with")
    options = parser.parse_args()
    if options.folder is None or not options.folder.is_dir():
        sys.exit("give the folder of the networks by --folder, or set GRAPHPRUNE_TRUTH")
    # Compiling (once per machine) is not measured.
    warm_up()
    with ExitStack() as stack:
        for one in processor_limits():
            stack.enter_context(one)
        if options.mode == "distortion":
            distortion_table(options.folder, options.only, options.time_limit)
        else:
            error_table(options, options.folder)


if __name__ == "__main__":
    main()
