"""Deciding property files about one model: here, or as a process that does so one after another."""

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from graphprune.cli.verify_images import prepare_images, write_image
from graphprune.errors import GraphpruneError, UnsupportedError
from graphprune.progress import Progress
from graphprune.runtime.process import Parent
from graphprune.runtime.provider import Provider

if TYPE_CHECKING:
    from graphprune.backends.verify import Verdict


class Decider:
    """Decides properties of one model; a network is loaded once for all that ask the same.

    Parameters
    ----------
    options
        Values of the command's options `model`, `output`, `fix_shape`, `save_images`, `seed`,
        `threads`, `provider` and `threat`.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self._networks: dict[object, Any] = {}

    def decide(self, path: str, left: Callable[[], float], progress: Progress) -> "Verdict":
        """The verdict about a property file; `left` tells the seconds left, once it is loaded."""
        from graphprune.backends.verify import by_points, verify
        from graphprune.runtime.resources import Resources, using
        from graphprune.vnnlib import read_property

        options = self.options
        provider = cast(Provider, options["provider"])
        with using(Resources(provider=provider, threads=options["threads"])):
            question = read_property(path)
            try:
                network = self._network(question)
            except UnsupportedError as error:
                if options["threat"] or options["save_images"] or options["output"]:
                    raise
                return by_points(
                    options["model"], question, error, time_limit=left(), seed=options["seed"],
                    progress=progress,
                )  # fmt: skip
            prepare_images(options["save_images"], network)
            verdict = verify(
                network, question, time_limit=left(), seed=options["seed"], progress=progress
            )
            write_image(options["save_images"], path, network, verdict)
        return verdict

    def record(self, path: str, limit: float, progress: Progress) -> dict[str, Any]:
        """The verdict as JSON has it, with the seconds of loading too; `limit` in seconds."""
        from graphprune.backends.verify import record_of

        start = monotonic()
        verdict = self.decide(path, lambda: max(limit - (monotonic() - start), 0.0), progress)
        return {**record_of(verdict), "seconds": monotonic() - start}

    def _network(self, question: Any) -> Any:
        from graphprune.backends.verify import answerable, network_for
        from graphprune.ir.shapes import parse_shapes

        key = question.input_names, question.output_names, question.outputs
        known = self._networks.get(key)
        if known is None or not answerable(known, question):
            options = self.options
            shapes = parse_shapes(options["fix_shape"])
            known = network_for(options["model"], question, options["output"], fix_shape=shapes)
            known = _in_units(known, options["threat"])
            self._networks[key] = known
        return known


def _in_units(network: Any, text: str | None) -> Any:
    """The network of inputs in the units of a threat; a property says itself what may change."""
    if text is None:
        return network
    from math import inf

    from graphprune.region import Domain
    from graphprune.threats import Threat

    threat = Threat.parse(text)
    if threat.local:
        raise GraphpruneError(
            f"--threat {text}: a property says itself which inputs may change: verify takes units"
            " alone, as normalise{mean=.. std=..}"
        )
    return threat.prepared(network, Domain(-inf, inf))


def _tell(parent: Parent, number: int, text: object) -> None:
    parent.tell("doing", number, str(text))


def main() -> None:
    """Answer the parent until it is gone."""
    parent = Parent()
    (options,) = parent.read()
    decider = Decider(options)
    import graphprune.backends.verify  # noqa: F401  before the first clock starts

    parent.tell("ready")
    while True:
        try:
            number, path, limit = parent.read()
        except EOFError:
            return
        try:
            told = partial(_tell, parent, number)
            parent.tell("verdict", number, decider.record(path, limit, told))
        except GraphpruneError as error:
            parent.tell("error", number, str(error))
        except MemoryError:
            parent.tell("error", number, f"{path}: out of memory")
        except Exception as error:  # the other properties are not to pay for it
            parent.tell("error", number, f"internal error: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
