"""Follow a run from outside: every finished number goes to MLflow, or is printed where that is not
installed.

`graphprune evaluate --json-lines` prints one JSON object per line: `begin`, `progress` with the
interval of a search, `finished` with a result, `end` with the summary. Any tracker can be fed so.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parent.parent / "models"
COMMAND = [
    sys.executable, "-m", "graphprune", "evaluate", str(MODELS / "toy-2d.onnx"),
    "--anchors", str(MODELS / "toy-2d-anchors.npz"), "--limit", "3", "--json-lines",
]  # fmt: skip


def events(command: list[str]) -> Iterator[dict[str, Any]]:
    """The events of a run while it goes on."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield from map(json.loads, process.stdout)


def numbers(event: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers of an event that a tracker plots: a metric's value or ends, and its seconds."""
    if event["event"] == "finished":
        for part in ("value", "lower", "upper", "seconds"):
            value = event["result"].get(part)
            if value is not None:
                yield f"{event['task']}.{part}", value


def log(name: str, value: float, step: int) -> None:
    """Send one number to MLflow, where it is installed."""
    try:
        import mlflow
    except ImportError:
        print(f"anchor {step}  {name}  {value:.5f}")
    else:
        # Names of estimates have braces, which MLflow refuses.
        mlflow.log_metric(re.sub(r"[^\w./-]+", "_", name), value, step=step)


if __name__ == "__main__":
    for event in events(COMMAND):
        for name, value in numbers(event):
            log(name, value, event["index"])
