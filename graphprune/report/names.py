"""Short names of runs and networks: of their paths, as much as tells them apart."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from graphprune.evaluate.archive import Evaluated


def short_names(paths: Sequence[str]) -> list[str]:
    """The last parts of paths, without a suffix; equal paths are numbered.

    Examples
    --------
    >>> short_names(["models/a.onnx", "models/b.onnx"]), short_names(["old/a.onnx", "new/a.onnx"])
    (['a', 'b'], ['old/a', 'new/a'])
    >>> short_names(["a.onnx", "a.onnx"])
    ['a (1)', 'a (2)']
    """
    parts = [PurePath(path).with_suffix("").parts for path in paths]
    longest = max(map(len, parts), default=0)
    names: list[str] = []
    for count in range(1, longest + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(set(parts)):
            break
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if names.count(name) > 1 or name in seen:
            seen[name] = seen.get(name, 0) + 1
            names[i] = f"{name} ({seen[name]})"
    return names


def told_apart(networks: Sequence[Evaluated]) -> list[Evaluated]:
    """Networks of several runs, with their runs in the names that would repeat."""
    names = [network.name for network in networks]
    if len(set(names)) == len(names):
        return list(networks)
    paths = [str(Path(network.run).resolve() / f"{network.name}.onnx") for network in networks]
    return [
        replace(network, given=name) if names.count(network.name) > 1 else network
        for network, name in zip(networks, short_names(paths), strict=True)
    ]
