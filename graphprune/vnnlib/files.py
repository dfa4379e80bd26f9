"""Property files: plain or packed with gzip."""

import zlib
from pathlib import Path

from graphprune.vnnlib.parser import PropertyError, parse_property
from graphprune.vnnlib.property import Property

# Bytes of a file, unpacked.
LARGEST_FILE = 1 << 28


def read_property(path: str | Path) -> Property:
    """Read a ``.vnnlib`` file, compressed with gzip or not.

    Raises
    ------
    PropertyError
        Missing, unreadable or damaged file, or a text that `parse_property` refuses.
    """
    return parse_property(_text(path), str(path))


def _text(path: str | Path) -> str:
    try:
        data = Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":
            unpacker = zlib.decompressobj(wbits=31)
            data = unpacker.decompress(data, LARGEST_FILE + 1)
            if not unpacker.eof and len(data) <= LARGEST_FILE:
                raise PropertyError(f"{path}: the compressed file is truncated")
    except FileNotFoundError:
        raise PropertyError(f"{path}: no such file") from None
    except OSError as error:
        raise PropertyError(f"{path}: cannot read: {error.strerror}") from None
    except (zlib.error, EOFError):
        raise PropertyError(f"{path}: not a gzip file, or damaged") from None
    if len(data) > LARGEST_FILE:
        raise PropertyError(f"{path}: larger than {LARGEST_FILE >> 20} MiB unpacked; refused")
    try:
        # A byte order mark, which editors of Windows write, is no part of the text.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PropertyError(f"{path}: not a text file (VNN-LIB is UTF-8)") from None
