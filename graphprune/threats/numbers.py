"""Numbers as options of threat models: written out, in a file, or an array in memory."""

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import GraphpruneError

Floats = NDArray[np.float64]
# The text of an array that has neither a file nor few numbers.
IN_MEMORY = "array"


class Numbers:
    """The value of an option: ``0.5+0.25``, a file, or an array in Python.

    Attributes
    ----------
    text
        The text it was made of.
    array
        The numbers, in the type of the file; float64 where they were written out.
    """

    described: ClassVar[str] = "FILE|N+N+..."

    text: str
    array: NDArray[Any]

    def __init__(self, given: Any) -> None:
        if isinstance(given, Numbers):
            self.text, self.array = given.text, given.array
        elif isinstance(given, str | Path):
            self.text = str(given)
            self.array = _read(self.text)
        else:
            self.text, self.array = IN_MEMORY, np.array(given)
            if self.array.ndim < 2 and self.array.size <= 8 and self.array.dtype.kind in "iuf":
                self.text = "+".join(repr(n) for n in self.array.reshape(-1).tolist())
                self.array = self.array.reshape(-1).astype(np.float64)
        if self.array.dtype.kind not in "biuf":
            raise GraphpruneError(f"{self.text}: holds {self.array.dtype}, not numbers")
        if not self.array.size or not np.all(np.isfinite(self.array)):
            raise GraphpruneError(f"{self.text}: holds no numbers, or NaN or infinite ones")
        self.array.setflags(write=False)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Numbers({self.text!r}, {self.array.dtype} {self.array.shape})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numbers) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def floats(self) -> Floats:
        """The numbers in float64."""
        return self.array.astype(np.float64)

    @property
    def digest(self) -> str:
        """SHA-256 of type, shape and numbers: a run may not go on with other ones."""
        head = f"{self.array.dtype} {self.array.shape} ".encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.array).tobytes()).hexdigest()

    def over(self, shape: tuple[int, ...], name: str) -> Floats:
        """The numbers as an array that broadcasts to samples of a shape.

        One number is for all elements, one per channel for those of each, and as many as a sample
        has elements are in its order.

        Raises
        ------
        GraphpruneError
            Another number of them.
        """
        found = self.floats
        if found.size == 1:
            return found.reshape((1,) * len(shape))
        if found.size == int(np.prod(shape)):
            return found.reshape(shape)
        axis = channel_axis(shape)
        if axis is not None and found.size == shape[axis]:
            return found.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        channels = "" if axis is None else f", or {shape[axis]} for its channels"
        raise GraphpruneError(
            f"{name}: {self.text} holds numbers of shape {self.array.shape}; samples have shape"
            f" {shape}: give one number, {int(np.prod(shape))} for all elements{channels}"
        )


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """The axis of an image's channels, or of a vector's elements; None where there is none.

    The first of three axes, unless only the last one has at most 4 channels.
    """
    if len(shape) == 3:
        return 2 if shape[2] in (1, 3, 4) and shape[0] > 4 else 0
    return 0 if len(shape) == 1 else None


def image_axes(shape: tuple[int, ...], name: str) -> tuple[int, int]:
    """The axes of height and width.

    Raises
    ------
    GraphpruneError
        Samples are no images.
    """
    if len(shape) == 2:
        return 0, 1
    axis = channel_axis(shape)
    if len(shape) != 3:
        raise GraphpruneError(f"{name} is for images; samples have shape {shape}")
    return (0, 1) if axis == 2 else (1, 2)


def _read(text: str) -> NDArray[Any]:
    try:
        return np.array([float(part) for part in text.split("+")])
    except ValueError:
        pass
    file = Path(text)
    if not file.exists():
        raise GraphpruneError(f"{text}: neither numbers as N+N+... nor a file that is there")
    try:
        if file.suffix.lower() == ".png":
            return _png(file)
        if file.suffix.lower() in (".csv", ".txt"):
            return np.loadtxt(file, delimiter=",", ndmin=1)
        if file.suffix.lower() not in (".npy", ".npz"):
            raise GraphpruneError(f"{text}: files of numbers are .npy, .npz, .csv or .png")
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            names = archive.files
            if len(names) != 1 and "x" not in names:
                raise GraphpruneError(
                    f"{text}: holds the arrays {', '.join(names)}: one, or one called x, is needed"
                )
            found: NDArray[Any] = archive["x" if "x" in names else names[0]]
            return found
    except GraphpruneError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GraphpruneError(
            f"{text}: not a readable file of numbers (.npy, .npz, .csv, .png): {reason}"
        ) from None


def _png(file: Path) -> NDArray[Any]:
    from PIL import Image

    with Image.open(file) as image:
        grey = image.mode in ("1", "L", "LA")
        return np.asarray(image.convert("L" if grey else "RGB"), dtype=np.uint8)
