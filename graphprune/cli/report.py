"""``report`` and ``plot``: what people look at after a run."""

from typing import Annotated

import typer

from graphprune.evaluate.option import one_of

REPORT_EXAMPLES = """

Examples:

  graphprune report runs/first -o report.html

  graphprune report runs/plain runs/robust -o comparison.html

  graphprune report runs/first --format csv > anchors.csv
"""
PLOT_EXAMPLES = """

Examples:

  graphprune plot runs/first -o accuracy.svg
"""
Runs = Annotated[
    list[str], typer.Argument(metavar="RUN_DIR...", help="Folders of graphprune evaluate --out.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command(epilog=REPORT_EXAMPLES)
    def report(
        runs: Runs,
        output: Annotated[
            str | None, typer.Option("-o", "--output", help="File to write; default: stdout.")
        ] = None,
        format: Annotated[
            str | None, typer.Option("--format", help="html|md|csv|parquet; default: by -o.")
        ] = None,
    ) -> None:
        """The page people look at: one self-contained HTML file, or a flat table."""
        import sys
        from pathlib import Path

        from graphprune.errors import GraphpruneError
        from graphprune.evaluate.archive import read_run
        from graphprune.evaluate.documents import check_writable
        from graphprune.ir.export import write_bytes
        from graphprune.report import rows
        from graphprune.report.names import told_apart
        from graphprune.report.page import render

        suffix = Path(output or "").suffix.lstrip(".").lower()
        if format is None and suffix and suffix not in rows.FORMATS:
            raise GraphpruneError(
                f"{output}: unknown suffix .{suffix}; known: {', '.join(rows.FORMATS)}, or name the"
                " format with --format"
            )
        kind = format or suffix or "html"
        one_of("--format", kind, rows.FORMATS)
        if output is None and kind in ("html", "parquet"):
            raise GraphpruneError(f"--format {kind}: name a file with -o")
        if output is not None:
            check_writable(output)
        found = told_apart([network for run in runs for network in read_run(run)])
        writers = {"md": rows.as_markdown, "csv": rows.as_csv, "parquet": rows.as_parquet}
        data = render(found).encode() if kind == "html" else writers[kind](found)
        if output is None:
            sys.stdout.write(data.decode())
        else:
            write_bytes(output, data)
            print(f"{output}: {sum(len(n.cases) for n in found)} anchors, {len(data)} bytes")

    @app.command(epilog=PLOT_EXAMPLES)
    def plot(
        runs: Runs,
        output: Annotated[str, typer.Option("-o", "--output", help="File: .svg, .png or .pdf.")],
    ) -> None:
        """Certified and attacked accuracy against the radius, as a figure."""
        from graphprune.evaluate.archive import read_run
        from graphprune.evaluate.documents import check_writable
        from graphprune.report.names import told_apart
        from graphprune.report.plots import accuracy_figure, figure_kind, save_figure

        figure_kind(output)
        check_writable(output)
        found = told_apart([network for run in runs for network in read_run(run)])
        save_figure(accuracy_figure(found), output)
        print(output)
