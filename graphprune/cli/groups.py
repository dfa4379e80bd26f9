"""Groups of options in the help of commands, by the names of their fields."""

GROUPS = {
    "Input": (
        "anchors", "labels", "domain", "limit", "index", "output", "output_name", "fix_shape",
        "threshold", "box",
    ),
    "Metrics": (
        "metrics", "estimate", "sound", "method", "effort", "solver", "norm", "radius", "gap",
        "target", "targets", "top_k", "threat", "margin", "seed", "certificate",
    ),
    "Limits": ("time_limit", "memory", "worker_memory"),
    "Resources": ("threads", "workers", "jobs", "provider", "scheduler"),
    "Output": (
        "out", "new", "json", "json_lines", "html", "save_points", "save_images", "quiet",
        "verbose",
    ),
}  # fmt: skip


def group_of(name: str) -> str | None:
    """The group of a field; None: the options that are a command's own."""
    return next((group for group, names in GROUPS.items() if name in names), None)
