"""Where a network came from: the file's own model, which has the last word on every point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from graphprune.ir.external import has_external

if TYPE_CHECKING:
    from graphprune.ir.front import Entry


@dataclass(frozen=True)
class Layout:
    """The way a tensor of the file maps to the canonical layout (batch first, then the sample).

    Attributes
    ----------
    shape
        Concrete shape in the file; the batch axis holds the size it was bound to.
    batch
        Position of the batch axis in `shape`; None when the tensor has none.
    """

    shape: tuple[int, ...]
    batch: int | None

    @property
    def sample(self) -> tuple[int, ...]:
        """Shape of one sample: `shape` without the batch axis."""
        if self.batch is None:
            return self.shape
        return self.shape[: self.batch] + self.shape[self.batch + 1 :]

    @property
    def size(self) -> int:
        return prod(self.sample)


@dataclass(frozen=True)
class InputPart:
    """An input of the file, which is a part of the point.

    Attributes
    ----------
    name, layout, dtype
        As in the file.
    """

    name: str
    layout: Layout
    dtype: np.dtype[np.floating]


# Operators of the dialect in graph order, and what they read: numbers of the inputs, then of the
# operators themselves.
Form = tuple[tuple[object, tuple[int, ...]], ...]


@dataclass(frozen=True, eq=False)
class FileNode:
    """An operator of the file with its inputs.

    Attributes
    ----------
    op_type, attributes
        As in the file.
    operands
        Its inputs in order: names of canonical values, numbers of constants, operators whose value
        the canonical network does not have; None where it has none.
    """

    op_type: str
    attributes: Mapping[str, Any]
    operands: "tuple[Operand, ...]"

    @property
    def names(self) -> tuple[str, ...]:
        """The canonical values that it reads, in order."""
        found: list[str] = []
        for operand in self.operands:
            if isinstance(operand, FileNode):
                found += operand.names
            elif isinstance(operand, str):
                found.append(operand)
        return tuple(found)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The same, each once."""
        return tuple(dict.fromkeys(self.names))


Operand = str | NDArray[np.generic] | FileNode | None


@dataclass(frozen=True, eq=False)
class Island(FileNode):
    """An operator of the file that became several of the dialect (a maximum, a LeakyRelu).

    Attributes
    ----------
    output
        Name of the canonical value that it computes.
    shape
        The sample's shape of its output in the file, which that value may have but for a reshape.
    form
        The operators that stand for it.
    """

    output: str
    shape: tuple[int, ...]
    form: Form


@dataclass(frozen=True, eq=False)
class Origin:
    """The file a network was loaded from, for writing what no rewrite has touched.

    Attributes
    ----------
    form
        The canonical network as it was loaded.
    islands
        The operators that became several.
    path, sha256
        Where the file lies; None for a model in memory.
    proto
        A model in memory. Without this and a path the file is not known.
    fix_shape
        Sizes that were given to dynamic axes.
    """

    form: Form
    islands: tuple[Island, ...]
    path: Path | None = None
    sha256: str = ""
    proto: onnx.ModelProto | None = None
    fix_shape: Mapping[str, Sequence[int]] | None = None

    @property
    def known(self) -> bool:
        """True where the file can be read again."""
        return self.path is not None or self.proto is not None


@dataclass(frozen=True, eq=False)
class HeadOperator:
    """An operator of the file above the logits, which keeps the order of the classes.

    Attributes
    ----------
    op_type, attributes
        As in the file.
    operands
        Its inputs in order: numbers where they are constants, None where the value comes in.
    over_classes
        True for what runs over the whole class vector (a Softmax), not number by number.
    """

    op_type: str
    attributes: Mapping[str, Any]
    operands: tuple[NDArray[np.generic] | None, ...] = (None,)
    over_classes: bool = False

    @classmethod
    def of(
        cls,
        node: onnx.NodeProto,
        operands: tuple[NDArray[np.generic] | None, ...] = (None,),
        *,
        over_classes: bool = False,
    ) -> "HeadOperator":
        """The operator of a node."""
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        return cls(node.op_type, attributes, operands, over_classes)


@dataclass(frozen=True, eq=False)
class Source:
    """The original model and the layout of its tensors.

    Attributes
    ----------
    proto
        The file's model up to the logits, external data embedded; never changed.
    path
        The file, or None for a network made in memory.
    sha256
        Hex digest of the file's bytes.
    input_layout, output_layout
        Layouts of the point and of the logits.
    file_output
        The output as the file calls it; `output_name` is the value below what was cut.
    head
        The operators that the file has above the logits, from these upward.
    dropped
        True where others lie there too that change the values: only the order of the logits says
        something of the file's output.
    batch_size
        The fixed batch size the file demands, or None when its batch is symbolic or absent.
    dtype
        float16, float32 or float64: the type of the file's input, the widest of several.
    parts
        The file's inputs in order, where they are several: one point, whose elements are theirs
        one after the other.
    origin
        The file that this or the network before its rewrites was loaded from.
    entry
        Where a threat model's graph stands in front of the file: points go through it first.
    """

    proto: onnx.ModelProto
    path: Path | None
    sha256: str
    input_name: str
    output_name: str
    input_layout: Layout
    output_layout: Layout
    batch_size: int | None
    dtype: np.dtype[np.floating]
    file_output: str
    head: tuple[HeadOperator, ...] = ()
    parts: tuple[InputPart, ...] = ()
    dropped: bool = False
    origin: Origin | None = None
    entry: "Entry | None" = None

    def rounded(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """The nearest points (N, *sample) that the file can be given."""
        if self.entry is not None:
            return self.entry.rounded(points)
        return points.astype(self.dtype)

    @property
    def inputs(self) -> tuple[InputPart, ...]:
        """The file's inputs in order."""
        return self.parts or (InputPart(self.input_name, self.input_layout, self.dtype),)

    @property
    def folder(self) -> Path | None:
        """Where external data lies that is not in `proto`; None where there is none."""
        outside = self.path is not None and has_external(self.proto)
        return self.path.parent if outside and self.path else None

    @property
    def softmax(self) -> str | None:
        """``Softmax`` or ``LogSoftmax``, where the head has one."""
        return next((o.op_type for o in self.head if o.over_classes), None)

    def to_file(self, x: NDArray[np.floating]) -> NDArray[np.floating]:
        """Canonical points (N, *sample) in the file's layout; N is 1 where the batch is absent."""
        x = x.astype(self.dtype, copy=False).reshape(len(x), *self.input_layout.sample)
        if self.input_layout.batch is None:
            point: NDArray[np.floating] = x[0]
            return point
        return np.moveaxis(x, 0, self.input_layout.batch)

    def feeds(self, x: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """The file's inputs, by name, of canonical points (N, *sample)."""
        if len(self.parts) < 2:
            return {self.input_name: self.to_file(x)}
        flat, feeds, start = x.reshape(len(x), -1), {}, 0
        for part in self.parts:
            end = start + part.layout.size
            own = flat[:, start:end].astype(part.dtype, copy=False)
            own = own.reshape(len(x), *part.layout.sample)
            feeds[part.name] = own[0] if part.layout.batch is None else own
            start = end
        return feeds

    def from_file(self, y: NDArray[np.floating]) -> NDArray[np.floating]:
        """Outputs in the file's layout as canonical logits (N, classes)."""
        batch = self.output_layout.batch
        y = y[None] if batch is None else np.moveaxis(y, batch, 0)
        logits: NDArray[np.floating] = y.reshape(len(y), -1)
        return logits
