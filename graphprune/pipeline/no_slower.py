"""The file as it was, in the place of a rewritten one that would be slower."""

import onnx

from graphprune.ir import Network
from graphprune.ir.export import written
from graphprune.ir.origin import untouched
from graphprune.runtime.timing import Times, race

# A rewritten file takes no longer than its input by more than this factor.
SLOWER = 1.0 / 0.98


def no_slower(
    before: Network, after: Network, *, keep_outputs: bool = False
) -> tuple[onnx.ModelProto, str, Times | None]:
    """The model to write of a network that computes what another one computes where it has to.

    Both are right: so the file's own graph is written instead of one that saves nothing, or takes
    longer.

    Returns
    -------
    The model; why it is the one before, or an empty text; milliseconds of both where they were
    measured.
    """
    proto = written(after, keep_outputs=keep_outputs)
    if untouched(after):
        return proto, "", None
    own = written(before, keep_outputs=keep_outputs)
    fewer = after.multiply_adds < before.multiply_adds
    if not fewer and proto.ByteSize() >= own.ByteSize():
        return own, "saves nothing", None
    # Fewer numbers may take longer (channels that fill no vector of the machine), so it is
    # measured; once more where it looks slower, which may be other work on the machine.
    times = race(before, own, proto)
    if _ratio(times) > SLOWER:
        times = min(times, race(before, own, proto), key=_ratio)
    if _ratio(times) > SLOWER:
        return own, f"takes {_ratio(times):.2f} times as long", times
    return proto, "", times


def _ratio(times: Times) -> float:
    return times[1] / times[0]
