"""Processor time of this process and of the workers that work for it alone."""

from time import process_time

_helpers = 0.0


def add_worker_seconds(seconds: float) -> None:
    """Count processor seconds that a worker process used for this one."""
    global _helpers
    _helpers += seconds


def processor_seconds() -> float:
    """Seconds of processor time so far; only differences mean something."""
    return process_time() + _helpers
