"""``check``: verify a certificate independently of everything that made it."""

import sys
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def check(
        certificate: Annotated[str, typer.Argument(metavar="CERTIFICATE", help="The proof.")],
        model: Annotated[str, typer.Argument(metavar="MODEL", help="The ONNX file it is about.")],
        quiet: Annotated[
            bool, typer.Option("--quiet", help="Say only why something is refused.")
        ] = False,
    ) -> int:
        """Verify a proof that graphprune distance --certificate wrote, trusting nothing else.

        Exit code 0: everything holds. 1: refused, and why. 2: there is nothing to verify, since
        the certificate or the model cannot be read.
        """
        from graphprune.check import Refused, read, read_model, verify

        def report(text: str) -> None:
            if not quiet and sys.stderr.isatty():
                print(f"\r\x1b[Kchecking {text}", end="", file=sys.stderr, flush=True)

        network = read_model(model)
        try:
            file = read(certificate)
            verified = verify(file, network, report)
        except Refused as reason:
            report("done\n")
            print(f"graphprune: refused: {certificate}: {reason}", file=sys.stderr)
            return 1
        report("done\n")
        for one in [] if quiet else verified:
            print(one)
        if not quiet:
            ends = (
                "none" if file.low == -file.high == float("-inf") else f"{file.low:g},{file.high:g}"
            )
            seconds = sum(one.seconds for one in verified)
            print(
                f"verified: {len(verified)} anchors, model {file.model[:16]}, domain {ends},"
                f" {seconds:.1f} s"
            )
        return 0
