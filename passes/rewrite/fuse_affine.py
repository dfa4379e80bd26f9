"""Make the graph small again: merge affine maps, drop dead neurons."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.attacks.attack import Attack
from graphprune.bounds.certify import Certificate
from graphprune.passes.base import Facts, Promise, State, register_pass
from graphprune.transforms.fuse import fuse


@register_pass
@dataclass(frozen=True)
class FuseAffine:
    """Merge adjacent affine operators and drop neurons that nothing reads.

    Constant and repeated neurons go first (`merge-neurons`). Adjacent operators become one where
    that is exact, convolutions and pads too. Then every segment keeps its form, a convolution or
    several factors, or becomes one matrix over the living neurons below and above: where a cost
    model of ONNX Runtime finds that no slower, no more multiply-adds and no more numbers to read
    and write. The report names the choices. The function stays the same everywhere.
    """

    name: ClassVar[str] = "fuse-affine"
    promise: ClassVar[Promise] = "everywhere"
    needs: ClassVar[Facts] = frozenset()
    keeps: ClassVar[Facts] = frozenset({Attack, Certificate})

    def run(self, state: State) -> State:
        network, notes = fuse(state.network, block=state.block)
        return state.rewritten(network).noting(*notes)
