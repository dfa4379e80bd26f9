"""Some elements alone, by a file or a rectangle."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.errors import GraphpruneError
from graphprune.threats.base import Fixing, Floats, Shape
from graphprune.threats.numbers import Numbers, image_axes
from graphprune.threats.registry import register_threat


@register_threat
@dataclass(frozen=True)
class Mask(Fixing):
    """Only the elements of a mask, or those of the box top,left,height,width of images, may change.

    A mask has the shape of a sample, or of one of its channels, and holds 0 and 1.
    """

    name: ClassVar[str] = "mask"

    file: Numbers | None = None
    box: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.file is not None:
            object.__setattr__(self, "file", Numbers(self.file))
        object.__setattr__(self, "box", tuple(self.box))
        if (self.file is None) == (not self.box):
            raise GraphpruneError("'mask': give file=FILE or box=top,left,height,width")
        if self.box and len(self.box) != 4:
            raise GraphpruneError(
                f"'mask': box has 4 numbers, top,left,height,width, not {len(self.box)}"
            )

    def weights(self, shape: Shape) -> Floats:
        return rectangle(shape, self.box, "'mask'") if self.file is None else self._read(shape)

    def _read(self, shape: Shape) -> Floats:
        assert self.file is not None
        mask = self.file.floats
        if not np.all((mask == 0.0) | (mask == 1.0)):
            raise GraphpruneError(
                f"'mask': {self.file} must hold 0 and 1 (or False and True); other weights are"
                " those of scale{by=FILE}"
            )
        if mask.size == int(np.prod(shape)):
            return mask.reshape(shape)
        if len(shape) == 3:
            rows, columns = image_axes(shape, "'mask'")
            if mask.shape == (shape[rows], shape[columns]):
                return np.broadcast_to(mask[..., None] if rows == 0 else mask[None], shape).copy()
        raise GraphpruneError(f"'mask': {self.file} has shape {mask.shape}, samples have {shape}")


def rectangle(shape: Shape, box: tuple[int, ...], name: str) -> Floats:
    """1 in a rectangle of an image's pixels, in all channels, and 0 elsewhere.

    Parameters
    ----------
    box
        Top, left, height, width.

    Raises
    ------
    GraphpruneError
        Samples are no images, or the rectangle is empty or reaches beyond them.
    """
    rows, columns = image_axes(shape, name)
    top, left, height, width = box
    inside = (
        top >= 0 and left >= 0 and top + height <= shape[rows] and left + width <= shape[columns]
    )
    if not inside or height < 1 or width < 1:
        raise GraphpruneError(
            f"{name}: the box of {height} x {width} pixels at ({top}, {left}) is not one of the"
            f" image's {shape[rows]} x {shape[columns]}"
        )
    chosen: list[slice] = [slice(None)] * len(shape)
    chosen[rows], chosen[columns] = slice(top, top + height), slice(left, left + width)
    mask = np.zeros(shape)
    mask[tuple(chosen)] = 1.0
    return mask
