"""``experiment``: the paper's experiments, measured and drawn."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from graphprune.cli import options as o
from graphprune.cli.progress import Live
from graphprune.errors import GraphpruneError

RUN_EXAMPLES = """

Examples:

  graphprune experiment run --out runs/paper --recipe paper --limit 20

  graphprune experiment run --out runs/paper --only mnist-c,mnist-d --recipe best --domain none
"""
PLOT_EXAMPLES = """

Examples:

  graphprune experiment plot --out runs/paper --to figures --format svg,png

  graphprune experiment plot --out runs/new --out docs/figures --to figures
"""
Out = Annotated[str, typer.Option("--out", help="Folder of the experiment; resumable.")]
Models = Annotated[
    str, typer.Option("--models", help="Folder of the shipped networks, of a source checkout.")
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="The paper's experiments: error against runtime of substitutes.")
    app.add_typer(group, name="experiment")

    @group.command(epilog=RUN_EXAMPLES)
    def run(
        out: Out,
        models: Models = "models",
        recipe: Annotated[str, typer.Option(help="Of paper, best, other.")] = "paper,best",
        only: Annotated[str | None, typer.Option(help="Networks: NAME,NAME.")] = None,
        domain: o.Domain = "0,1",
        limit: Annotated[int, typer.Option(min=1, help="Anchors per network.")] = 100,
        time_limit: Annotated[float, typer.Option(help="Seconds per anchor and metric.")] = 60.0,
        step: Annotated[float, typer.Option(help="g0 of Algorithm 1.")] = 0.05,
        radius: Annotated[float, typer.Option(help="Where d_bnd searches end.")] = 0.5,
        milp: Annotated[int, typer.Option(min=0, help="Anchors of the plain MILP.")] = 5,
        workers: o.Workers = 1, new: o.New = False, quiet: o.Quiet = False,
    ) -> int:  # fmt: skip
        """Measure; the same command again goes on where it stopped, with more anchors too."""
        from graphprune.evaluate.experiment import PANELS, RECIPES, Experiment
        from graphprune.region import Domain

        if not Path(models).is_dir():
            raise GraphpruneError(
                f"{models}: no such folder; --models DIR is that of the shipped networks in a"
                " checkout of graphprune"
            )
        names = [o.one_of("--recipe", r.strip(), tuple(RECIPES)) for r in recipe.split(",")]
        every = tuple(p.network for p in PANELS)
        chosen = every if only is None else tuple(n.strip() for n in only.split(","))
        for network in chosen:
            o.one_of("--only", network, every)
        experiment = Experiment(
            Path(out), Path(models), limit,
            o.finite("--time-limit", time_limit), step,
            o.finite("--radius", radius), milp, workers, new,
        )  # fmt: skip
        box = Domain(*o.parse_domain(domain))
        for name in names:
            for panel in (p for p in PANELS if p.network in chosen):
                if not quiet:
                    print(f"{name}: {panel.network}, d_{panel.metric}", file=sys.stderr, flush=True)
                with Live(quiet=quiet) as watch:
                    outcomes = list(experiment.run(panel, name, box, watch))
                for outcome in outcomes:
                    if outcome.failure is not None:
                        raise outcome.failure
                if any(outcome.interrupted for outcome in outcomes):
                    print("graphprune: interrupted; everything finished is kept", file=sys.stderr)
                    return 130
        if not quiet:
            _table(out)
        return 0

    @group.command(epilog=PLOT_EXAMPLES)
    def plot(
        out: Annotated[
            list[str],
            typer.Option(
                "--out", help="Folder of an experiment, or of files written here; repeatable."
            ),
        ],
        models: Models = "models",
        to: Annotated[
            str | None, typer.Option(help="Folder for the files; default: the first --out.")
        ] = None,
        format: Annotated[str, typer.Option(help="Of svg, png, pdf.")] = "svg",
    ) -> None:
        """Figures 1 to 3, and the numbers behind them as CSV, JSON and Markdown tables.

        Where several folders have a network, recipe and domain, the first one is drawn.
        """
        from graphprune.canonical import load
        from graphprune.evaluate.anchors import load_anchors
        from graphprune.report.figures import write_figures
        from graphprune.report.numbers import read_panels, write_numbers
        from graphprune.report.plots import FORMATS

        kinds = [o.one_of("--format", kind.strip(), FORMATS) for kind in format.split(",")]
        panels = read_panels(out)
        folder = Path(to or out[0])
        folder.mkdir(parents=True, exist_ok=True)
        toy = load(Path(models) / "toy-2d.onnx")
        anchor = load_anchors(Path(models) / "toy-2d-anchors.npz", toy)[0]
        files = write_figures(panels, (toy, anchor), folder, kinds)
        for path in (*files, *write_numbers(panels, folder)):
            print(path)


def _table(out: str) -> None:
    from rich.console import Console

    from graphprune.evaluate.experiment import read_experiment
    from graphprune.report.numbers import experiment_table

    console = Console(width=None if sys.stdout.isatty() else 160)
    for panel in read_experiment(out):
        console.print(experiment_table(panel))
