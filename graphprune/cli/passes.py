"""``passes``: every pass and threat model, its options and defaults; or one of them in full."""

from typing import TYPE_CHECKING, Annotated

import typer

from graphprune.errors import check_known

if TYPE_CHECKING:
    from graphprune.passes.base import Pass
    from graphprune.threats import ThreatModel


def _complete(incomplete: str) -> list[str]:
    from graphprune.pipeline.text import known_passes
    from graphprune.threats import known_threats

    return [name for name in (*known_passes(), *known_threats()) if name.startswith(incomplete)]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def passes(
        name: Annotated[
            str | None,
            typer.Argument(
                help="All about this pass or threat model alone.", autocompletion=_complete
            ),
        ] = None,
    ) -> None:
        """Every pass and threat model with its options and defaults."""
        from graphprune.pipeline.text import known_passes
        from graphprune.threats import known_threats

        known, threats = known_passes(), known_threats()
        if name is not None:
            if name in threats:
                _print_threat(name, threats[name], whole=True)
                return
            check_known("pass or threat model", name, [*known, *threats])
            _print(name, known[name], whole=True)
            return
        for each, cls in sorted(known.items()):
            _print(each, cls, whole=False)
            print()
        print("Threat models:\n")
        for each, model in sorted(threats.items()):
            _print_threat(each, model, whole=False)
            print()


def _print(name: str, cls: "type[Pass]", *, whole: bool) -> None:
    """Print the first paragraph of a pass, or everything that it says of itself."""
    _print_options(name, cls, whole=whole)
    print(f"    keeps the function: {cls.promise}")
    for role in ("needs", "keeps"):
        kinds_of = sorted(kind.__name__ for kind in getattr(cls, role, ()))
        if kinds_of:
            print(f"    {role}: {', '.join(kinds_of)}")


def _print_threat(name: str, cls: "type[ThreatModel]", *, whole: bool) -> None:
    """Print the first paragraph of a threat model, or everything that it says of itself."""
    _print_options(name, cls, whole=whole)
    print(f"    {cls.kind}")


def _print_options(name: str, cls: type, *, whole: bool) -> None:
    """Print a name, what its docstring says, and its options."""
    import dataclasses
    import inspect

    from graphprune.option_text import describe_type, option_types

    text = inspect.getdoc(cls) or ""
    first = text.split("\n\n")[0].replace("\n", " ")
    print(name)
    for line in text.splitlines() if whole else [first]:
        print(f"  {line}".rstrip())
    kinds = option_types(cls)
    for field in dataclasses.fields(cls):
        default = field.default
        kind = describe_type(kinds[field.name])
        if default is dataclasses.MISSING:
            print(f"    {field.name}=...  ({kind})")
        else:
            print(f"    {field.name}={'none' if default in (None, ()) else default}  ({kind})")
