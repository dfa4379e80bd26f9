"""``experiment``: the paper's experiments, measured and drawn."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from graphprune.cli.evaluate import EvaluateOptions
from graphprune.cli.options import parse_domain
from graphprune.cli.parameters import command
from graphprune.cli.progress import Live
from graphprune.errors import GraphpruneError
from graphprune.evaluate.option import again, one_of, option
from graphprune.evaluate.settings import Settings

if TYPE_CHECKING:
    from graphprune.evaluate.results import Outcome

RUN_EXAMPLES = """

Examples:

  graphprune experiment run --out runs/paper --recipe paper --limit 20

  graphprune experiment run --out runs/paper --only mnist-c,mnist-d --recipe best --domain none

  graphprune experiment run --out runs/l2 --only mnist-a-stable --norm l2 --radius 4
"""
PLOT_EXAMPLES = """

Examples:

  graphprune experiment plot --out runs/paper --to figures --format svg,png

  graphprune experiment plot --out runs/new --out docs/figures --to figures
"""


@dataclass(frozen=True)
class ExperimentOptions:
    """The command line of `experiment run`."""

    out: str = field(metadata=option("Folder of the experiment; resumable.", "--out"))
    models: str = field(
        default="models",
        metadata=option("Folder of the shipped networks, of a source checkout.", "--models"),
    )
    recipe: str = field(default="paper,best", metadata=option("Of paper, best, other.", "--recipe"))
    only: str | None = field(default=None, metadata=option("Networks: NAME,NAME.", "--only"))
    domain: str = again(EvaluateOptions, "domain")
    limit: int = again(EvaluateOptions, "limit", default=100, help="Anchors per network.")
    time_limit: float = again(
        Settings, "time_limit", default=60.0, flags=("--time-limit",), check="finite"
    )
    step: float = field(default=0.05, metadata=option("g0 of Algorithm 1.", "--step"))
    radius: float = again(
        Settings, "radius", default=0.5, help="Where d_bnd searches end.", check="finite"
    )
    norm: str = again(Settings, "norm")
    milp: int = field(default=5, metadata=option("Anchors of the plain MILP.", "--milp", least=0))
    workers: int = again(Settings, "workers")
    new: bool = again(EvaluateOptions, "new")
    quiet: bool = again(EvaluateOptions, "quiet")


@dataclass(frozen=True)
class PlotOptions:
    """The command line of `experiment plot`."""

    out: list[str] = field(
        metadata=option("Folder of an experiment, or of files written here; repeatable.", "--out")
    )
    models: str = again(ExperimentOptions, "models")
    to: str | None = field(
        default=None, metadata=option("Folder for the files; default: the first --out.", "--to")
    )
    format: str = field(default="svg", metadata=option("Of svg, png, pdf.", "--format"))


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="The paper's experiments: error against runtime of substitutes.")
    app.add_typer(group, name="experiment")
    command(group, ExperimentOptions, run, epilog=RUN_EXAMPLES)
    command(group, PlotOptions, plot, epilog=PLOT_EXAMPLES)


def run(options: ExperimentOptions) -> int:
    """Measure; the same command again goes on where it stopped, with more anchors too."""
    from graphprune.evaluate.experiment import PANELS, RECIPES, Experiment
    from graphprune.region import Domain, norm_of

    if not Path(options.models).is_dir():
        raise GraphpruneError(
            f"{options.models}: no such folder; --models DIR is that of the shipped networks in a"
            " checkout of graphprune"
        )
    names = [one_of("--recipe", r.strip(), tuple(RECIPES)) for r in options.recipe.split(",")]
    every = tuple(p.network for p in PANELS)
    chosen = every if options.only is None else tuple(n.strip() for n in options.only.split(","))
    for network in chosen:
        one_of("--only", network, every)
    experiment = Experiment(
        Path(options.out), Path(options.models), options.limit, options.time_limit, options.step,
        options.radius, options.milp, options.workers, options.new, norm_of(options.norm),
    )  # fmt: skip
    box = Domain(*parse_domain(options.domain))
    for name in names:
        for panel in (p for p in PANELS if p.network in chosen):
            if not options.quiet:
                print(f"{name}: {panel.network}, d_{panel.metric}", file=sys.stderr, flush=True)
            with Live(quiet=options.quiet) as watch:
                outcomes = list(experiment.run(panel, name, box, watch))
            if _interrupted(outcomes):
                print("graphprune: interrupted; everything finished is kept", file=sys.stderr)
                return 130
    if not options.quiet:
        _table(options.out)
    return 0


def _interrupted(outcomes: "list[Outcome]") -> bool:
    """True where Ctrl-C ended one of a panel's runs.

    Raises
    ------
    OutputError
        The results of one could not be kept.
    """
    for outcome in outcomes:
        if outcome.failure is not None:
            raise outcome.failure
    return any(outcome.interrupted for outcome in outcomes)


def plot(options: PlotOptions) -> int:
    """Figures 1 to 3, and the numbers behind them as CSV, JSON and Markdown tables.

    Where several folders have a network, recipe and domain, the first one is drawn.
    """
    from graphprune.canonical import load
    from graphprune.evaluate.anchors import load_anchors
    from graphprune.report.figures import write_figures
    from graphprune.report.numbers import read_panels, write_numbers
    from graphprune.report.plots import FORMATS

    kinds = [one_of("--format", kind.strip(), FORMATS) for kind in options.format.split(",")]
    panels = read_panels(options.out)
    folder = Path(options.to or options.out[0])
    folder.mkdir(parents=True, exist_ok=True)
    toy = load(Path(options.models) / "toy-2d.onnx")
    anchor = load_anchors(Path(options.models) / "toy-2d-anchors.npz", toy)[0]
    files = write_figures(panels, (toy, anchor), folder, kinds)
    for path in (*files, *write_numbers(panels, folder)):
        print(path)
    return 0


def _table(out: str) -> None:
    from rich.console import Console

    from graphprune.evaluate.experiment import read_experiment
    from graphprune.report.numbers import experiment_table

    console = Console(width=None if sys.stdout.isatty() else 160)
    for panel in read_experiment(out):
        console.print(experiment_table(panel))
