"""``passes``: every pass, its options and defaults."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def passes() -> None:
        """Every pass with its options and defaults."""
        import dataclasses
        import inspect

        from graphprune.pipeline.text import describe_type, known_passes, option_types

        for name, cls in sorted(known_passes().items()):
            lines = (inspect.getdoc(cls) or "").split("\n\n")
            print(name)
            print("  " + lines[0].replace("\n", " "))
            kinds = option_types(cls)
            for field in dataclasses.fields(cls):  # type: ignore[arg-type]
                default = field.default
                shown = "none" if default in (None, ()) else default
                print(f"    {field.name}={shown}  ({describe_type(kinds[field.name])})")
            print(f"    keeps the function: {cls.promise}")
            for what in ("needs", "keeps"):
                kinds_of = sorted(kind.__name__ for kind in getattr(cls, what, ()))
                if kinds_of:
                    print(f"    {what}: {', '.join(kinds_of)}")
            print()
