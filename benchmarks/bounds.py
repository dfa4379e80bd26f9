"""Certified margins of test images: time and tightness, against auto_LiRPA in the same run.

    python benchmarks/bounds.py [--radius R] [--batch N] [--single N] [--only NAME]...

One thread, process CPU time (other processes slow all columns alike). Both sides bound the nine
margins of every image over the ball within [0, 1]; auto_LiRPA is optional (pip install torch, and
auto_LiRPA from its repository). Our numbers are sound in floating point, auto_LiRPA's are not.
The second table is d_rob to 0.1 % by search.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import graphprune as gp
from graphprune.bounds import Boxes, Method, linear_bounds, pre_activation_bounds
from graphprune.bounds.certify import margin_rows

MODELS = Path(__file__).parent.parent / "models"
PEER_METHOD = {"ibp": "IBP", "crown": "CROWN", "alpha-crown": "CROWN-Optimized"}
# auto_LiRPA needs seconds per image here.
PEER_IMAGES = {"alpha-crown": 10}

Floats = np.ndarray[Any, np.dtype[np.float64]]


def ours(network: gp.Network, anchors: list[gp.Anchor], radius: float, method: Method) -> Floats:
    """Margins (N, classes - 1): layers for the whole batch, rows per label."""
    boxes = Boxes.of(*(a.ball(radius, gp.Domain()) for a in anchors))
    layers = pre_activation_bounds(network, boxes, method)
    margins = np.empty((len(anchors), network.classes - 1))
    labels = np.array([a.label for a in anchors])
    for label in np.unique(labels):
        chosen = np.flatnonzero(labels == label)
        part = Boxes(boxes.lower[chosen], boxes.upper[chosen])
        cut = [type(b)(b.lower[chosen], b.upper[chosen], b.magnitude[chosen]) for b in layers]
        margins[chosen] = linear_bounds(network, part, cut, margin_rows(network, label), method)
    return margins


def peer(path: Path) -> Callable[[list[gp.Anchor], float, str], Floats] | None:
    """The same by auto_LiRPA, or None where it is not installed."""
    try:
        import torch
        from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm
    except ImportError as error:
        print(f"auto_LiRPA skipped: {error}")
        return None
    torch.set_num_threads(1)
    model = _to_torch(path, torch)

    def bound(anchors: list[gp.Anchor], radius: float, method: str) -> Floats:
        x = torch.tensor(np.stack([a.x for a in anchors]), dtype=torch.float32)
        label = torch.tensor([a.label for a in anchors])
        eye = torch.eye(10)
        margins = eye[label].unsqueeze(1) - eye.unsqueeze(0)
        margins = margins[~eye[label].bool()].view(len(x), 9, 10)
        box = PerturbationLpNorm(
            norm=np.inf, x_L=(x - radius).clamp(0, 1), x_U=(x + radius).clamp(0, 1)
        )
        module = BoundedModule(
            model, torch.empty_like(x), bound_opts={"optimize_bound_args": {"iteration": 20}}
        )
        start = process_time()
        with torch.set_grad_enabled(method == "CROWN-Optimized"):
            lower, _ = module.compute_bounds(
                x=(BoundedTensor(x, box),), C=margins, method=method, bound_upper=False
            )
        bound.seconds = process_time() - start  # type: ignore[attr-defined]
        found: Floats = lower.detach().numpy().astype(np.float64)
        return found

    return bound


def _to_torch(path: Path, torch: Any) -> Any:
    """The shipped conv networks as a torch module."""
    model = onnx.load(path)
    weights = {
        w.name: torch.tensor(numpy_helper.to_array(w).copy()) for w in model.graph.initializer
    }
    layers: list[Any] = []
    for node in model.graph.node:
        options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Conv":
            w = weights[node.input[1]]
            layer = torch.nn.Conv2d(
                w.shape[1], w.shape[0], tuple(w.shape[2:]),
                stride=tuple(options["strides"]), padding=tuple(options["pads"][:2]),
            )  # fmt: skip
        elif node.op_type == "Gemm":
            w = weights[node.input[1]]
            w = w if options.get("transB") else w.T
            layer = torch.nn.Linear(w.shape[1], w.shape[0])
        else:
            layers.append(torch.nn.ReLU() if node.op_type == "Relu" else torch.nn.Flatten())
            continue
        layer.weight.data, layer.bias.data = w, weights[node.input[2]]
        layers.append(layer)
    return torch.nn.Sequential(*layers).eval()


def timed(work: Callable[[], Floats], repeats: int) -> tuple[Floats, float]:
    """The result and the best CPU time."""
    best = np.inf
    for _ in range(repeats):
        start = process_time()
        result = work()
        best = min(best, process_time() - start)
    return result, best


def margins_table(names: list[str], radius: float, batch: int, single: int) -> None:
    print(
        f"| network | method | images | ms / image | auto_LiRPA | ratio | mean margin | auto_LiRPA"
        f" | worst difference |  radius {radius}\n|---|---|---|---|---|---|---|---|---|"
    )
    anchors = gp.load_anchors(MODELS / "mnist-test-100.npz")
    for name in names:
        network = gp.load(MODELS / f"{name}.onnx")
        other = peer(MODELS / f"{name}.onnx")
        ours(network, anchors[:1], radius, "alpha-crown")  # compile, lay out
        methods: tuple[Method, ...] = ("ibp", "crown", "alpha-crown")
        for method in methods:
            for count in dict.fromkeys((single, batch)):
                run = anchors[:count]
                work = partial(ours, network, run, radius, method)
                short = method == "ibp" or (count == 1 and method == "crown")
                repeats = 5 if short else 1
                found, seconds = timed(work, repeats)
                cells = [name, method, str(count), f"{1e3 * seconds / count:.2f}"]
                if other is None:
                    print(
                        "| " + " | ".join([*cells, "-", "-", f"{found.mean():.4f}", "-", "-"]), "|"
                    )
                    continue
                some = min(count, PEER_IMAGES.get(method, count))
                theirs, best = found[:some], np.inf
                for _ in range(repeats):
                    theirs = other(run[:some], radius, PEER_METHOD[method])
                    best = min(best, other.seconds)  # type: ignore[attr-defined]
                each = best / some
                cells += [
                    f"{1e3 * each:.2f}", f"{each / (seconds / count):.1f}x",
                    f"{found[:some].mean():.4f}", f"{theirs.mean():.4f}",
                    f"{np.min(found[:some] - theirs):.1e}",
                ]  # fmt: skip
                print("| " + " | ".join(cells) + " |", flush=True)


def radius_table(names: list[str], images: int) -> None:
    print("\n| network | method | norm | mean d_rob | CPU s / image |\n|---|---|---|---|---|")
    anchors = gp.load_anchors(MODELS / "mnist-test-100.npz")[:images]
    for name in names:
        network = gp.load(MODELS / f"{name}.onnx")
        for method, norm in (
            ("fastlin", "linf"), ("crown", "linf"), ("alpha-crown", "linf"),
            ("crown", "l2"), ("crown", "l1"),
        ):  # fmt: skip
            gp.certify(network, anchors[0], method=method, norm=norm)  # type: ignore[arg-type]
            start = process_time()
            radii = [
                gp.certify(network, a, method=method, norm=norm).radius  # type: ignore[arg-type]
                for a in anchors
            ]
            each = (process_time() - start) / len(anchors)
            print(f"| {name} | {method} | {norm} | {np.mean(radii):.5f} | {each:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--radius", type=float, default=0.02)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--single", type=int, default=1)
    parser.add_argument("--images", type=int, default=5, help="Of the radius table.")
    parser.add_argument("--only", action="append")
    options = parser.parse_args()
    names = options.only or ["mnist-a", "mnist-c", "mnist-e"]
    margins_table(names, options.radius, options.batch, options.single)
    radius_table(names, options.images)


if __name__ == "__main__":
    main()
