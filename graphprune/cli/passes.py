"""``passes``: every pass, its options and defaults; or one of them in full."""

from typing import TYPE_CHECKING, Annotated

import typer

from graphprune.errors import check_known

if TYPE_CHECKING:
    from graphprune.passes.base import Pass


def _complete(incomplete: str) -> list[str]:
    from graphprune.pipeline.text import known_passes

    return [name for name in known_passes() if name.startswith(incomplete)]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def passes(
        name: Annotated[
            str | None,
            typer.Argument(help="All about this pass alone.", autocompletion=_complete),
        ] = None,
    ) -> None:
        """Every pass with its options and defaults."""
        from graphprune.pipeline.text import known_passes

        known = known_passes()
        if name is not None:
            check_known("pass", name, known)
            _print(name, known[name], whole=True)
            return
        for each, cls in sorted(known.items()):
            _print(each, cls, whole=False)
            print()


def _print(name: str, cls: "type[Pass]", *, whole: bool) -> None:
    """Print the first paragraph of a pass, or everything that it says of itself."""
    import dataclasses
    import inspect

    from graphprune.pipeline.text import describe_type, option_types

    text = inspect.getdoc(cls) or ""
    first = text.split("\n\n")[0].replace("\n", " ")
    print(name)
    for line in text.splitlines() if whole else [first]:
        print(f"  {line}".rstrip())
    kinds = option_types(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        default = field.default
        shown = "none" if default in (None, ()) else default
        print(f"    {field.name}={shown}  ({describe_type(kinds[field.name])})")
    print(f"    keeps the function: {cls.promise}")
    for role in ("needs", "keeps"):
        kinds_of = sorted(kind.__name__ for kind in getattr(cls, role, ()))
        if kinds_of:
            print(f"    {role}: {', '.join(kinds_of)}")
