"""Recurrent layers and loops of a known length, written out step by step in a file's own operators.

The steps in their place are lowered, bounded and attacked like any other part of a network. A
sequence whose length is not known, or so long that the steps would fill the memory, stays what it
is, and is refused where operators without a rule are.

A file's model comes in, one of plain operators goes out. Read first: ``base.py`` (the driver, and
the writer of steps), then ``recurrent.py`` (the parts of recurrent layers) and ``lstm.py``.
"""

from graphprune.canonical.unrolled.base import UNROLLED, install, unrolled

__all__ = ["UNROLLED", "install", "unrolled"]
