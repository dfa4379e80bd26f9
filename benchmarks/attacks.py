"""Attacks side by side: mean distance, seconds, failures; ours and those of other libraries.

    python -m benchmarks.attacks [--model NAME]... [--anchors N] [--only TEXT]... [--norm NORM]
        [--images FILE [--labels FILE]] [--skip N] [--cifar DIR]

A model is a name of `models/` or a file. ``--cifar`` adds the CIFAR networks of a folder as
:mod:`benchmarks.wide` finds them, at the centres of their properties and without a domain (peers
get [-10, 10]).

Peers (foolbox, torchattacks, AutoAttack as pyautoattack, a PGD bisection in torch) run on a copy
of the model in PyTorch and are left out, with a message, when their library is not installed. One
thread; seconds are processor time for all anchors; every point of every attack is judged by the
file's own model in ONNX Runtime, and a point that is not adversarial there, or outside the domain,
is a failure. The ratios are to `PGD bisection` (seconds) and to the best of all peers image by
image (distance).
"""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import groupby
from pathlib import Path
from time import process_time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

import graphprune as gp
from benchmarks.wide import NOWHERE, cifar_tasks
from graphprune.region import norm_of
from graphprune.region.anchor import PREDICTED
from graphprune.runtime.original import run_original

MODELS = Path(__file__).parent.parent / "models"
Array = NDArray[Any]
Attack = Callable[[Array, Array], Array]
NORMS = {"linf": np.inf, "l2": 2, "l1": 1}
# Where peers look that need a domain, where there is none.
WIDE = (-10.0, 10.0)


def torch_model(path: Path) -> Any:
    """A PyTorch copy: by onnx2torch where it is installed, else of a sequential Conv, Gemm, Relu,
    Flatten model."""
    import onnx
    from onnx import numpy_helper

    torch: Any = import_module("torch")
    try:
        found = import_module("onnx2torch").convert(onnx.load(path)).eval()
        return found.requires_grad_(False)
    except NotImplementedError as error:
        raise ImportError(f"onnx2torch: {error}") from None
    except ImportError:
        pass
    nn = torch.nn

    graph = onnx.load(path).graph
    weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    layers: list[Any] = []
    for node in graph.node:
        options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        parameters = [weights[name] for name in node.input[1:] if name in weights]
        layer: Any
        if node.op_type == "Conv":
            out, into, height, width = parameters[0].shape
            stride = options.get("strides", [1, 1])
            pads = options.get("pads", [0, 0, 0, 0])
            layer = nn.Conv2d(
                into, out, (height, width), (stride[0], stride[1]), (pads[0], pads[1])
            )
        elif node.op_type == "Gemm":
            if not options.get("transB", 0):
                parameters[0] = parameters[0].T
            layer = nn.Linear(parameters[0].shape[1], parameters[0].shape[0])
        elif node.op_type == "Relu":
            layer = nn.ReLU()
        elif node.op_type in ("Flatten", "Reshape"):
            layer = nn.Flatten()
        else:
            raise SystemExit(f"{path}: no PyTorch copy of {node.op_type}")
        for parameter, value in zip(layer.parameters(), parameters, strict=True):
            parameter.data = value.clone()
        layers.append(layer)
    return nn.Sequential(*layers).eval()


def pgd_bisection(
    model: Any,
    norm: str,
    ends: tuple[float, float],
    *,
    radii: int = 12,
    steps: int = 40,
    starts: int = 5,
) -> Attack:
    """Bisection over the radius, PGD on the margin of the best other class inside it."""
    torch: Any = import_module("torch")

    def run(x: Array, y: Array) -> Array:
        inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
        shape = (-1, *(1,) * (x.ndim - 1))
        low, high = torch.zeros(len(x)), torch.full((len(x),), 0.5)
        best = inputs.clone()
        generator = torch.Generator().manual_seed(0)
        for _ in range(radii):
            radius = (low + high) / 2
            broken = torch.zeros(len(x), dtype=torch.bool)
            box = radius.reshape(shape)
            for _ in range(starts):
                noise = 2 * torch.rand(x.shape, generator=generator) - 1
                point = (inputs + box * noise).clamp(*ends)
                for _ in range(steps):
                    point.requires_grad_(True)
                    logits = model(point)
                    mine = logits.gather(1, labels[:, None])[:, 0]
                    other = logits.scatter(1, labels[:, None], -torch.inf).max(1).values
                    found = (mine <= other) & ~broken
                    best[found], broken = point.detach()[found], broken | found
                    gradient = torch.autograd.grad((mine - other).sum(), point)[0]
                    point = point.detach() - box / 10 * gradient.sign()
                    point = torch.min(torch.max(point, inputs - box), inputs + box).clamp(*ends)
            high, low = torch.where(broken, radius, high), torch.where(broken, low, radius)
        return np.asarray(best.numpy())

    if norm != "linf":
        raise ImportError("PGD bisection is written for linf")
    return run


def foolbox(model: Any, norm: str, ends: tuple[float, float], name: str, **options: Any) -> Attack:
    fb: Any = import_module("foolbox")
    torch: Any = import_module("torch")

    kinds = {"linf": ("LInf", "Linf", "Linfinity"), "l2": ("L2",), "l1": ("L1",)}[norm]
    known = [found for k in kinds if (found := getattr(fb.attacks, f"{k}{name}", None))]
    if not known:
        raise ImportError(f"foolbox has no {name} for {norm}")
    attack = known[0]
    wrapped = fb.PyTorchModel(model, bounds=ends, device="cpu")

    def run(x: Array, y: Array) -> Array:
        inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
        found = attack(**options)(wrapped, inputs, labels, epsilons=None)[1]
        return np.asarray(found.detach().numpy())

    return run


def fab(model: Any, norm: str, ends: tuple[float, float]) -> Attack:
    """FAB-T by torchattacks, or in l1, where that fails, by AutoAttack."""
    torch: Any = import_module("torch")
    attack: Any
    if ends == WIDE:
        raise ImportError("it knows no domain but [0, 1]")
    # Points farther than eps are given up: one that holds the unit cube.
    if norm == "l1":
        autoattack: Any = import_module("pyautoattack.fab_pt")
        attack = autoattack.FABAttack_PT(
            model, norm="L1", eps=784.0, n_iter=100, n_restarts=1, targeted=True,
            n_target_classes=9, device="cpu",
        ).perturb  # fmt: skip
    else:
        torchattacks: Any = import_module("torchattacks")
        kind, eps = {"linf": ("Linf", 1.0), "l2": ("L2", 28.0)}[norm]
        attack = torchattacks.FAB(
            model, norm=kind, eps=eps, steps=100, n_restarts=1, multi_targeted=True, n_classes=10
        )

    def run(x: Array, y: Array) -> Array:
        found = attack(torch.from_numpy(x.copy()), torch.from_numpy(y))
        return np.asarray(found.detach().numpy())

    return run


def ours(network: gp.Network, norm: Any, domain: gp.Domain, effort: Any) -> Attack:
    def run(x: Array, y: Array) -> Array:
        found = [
            gp.attack(network, gp.Anchor(p, int(label), i), norm=norm, effort=effort, domain=domain)
            for i, (p, label) in enumerate(zip(x, y, strict=True))
        ]
        points = [
            start if attack.witness is None else attack.witness.x
            for attack, start in zip(found, x, strict=True)
        ]
        return np.stack(points)

    return run


def attacks(
    path: Path, network: gp.Network, norm: str, domain: gp.Domain
) -> Iterator[tuple[str, bool, Callable[[], Attack]]]:
    """(name, whether it is a peer, how to make it)."""
    model: list[Any] = []
    ends = (0.0, 1.0) if domain.bounded else WIDE

    def torch_copy() -> Any:
        torch: Any = import_module("torch")

        torch.set_num_threads(1)
        torch.manual_seed(0)
        model[:] = model or [torch_model(path)]
        return model[0]

    yield "PGD bisection 12x40x5", True, lambda: pgd_bisection(torch_copy(), norm, ends)
    yield (
        "foolbox FMN 1000",
        True,
        lambda: foolbox(torch_copy(), norm, ends, "FMNAttack", steps=1000),
    )
    yield "foolbox FMN 200", True, lambda: foolbox(torch_copy(), norm, ends, "FMNAttack", steps=200)
    yield "foolbox DeepFool", True, lambda: foolbox(torch_copy(), norm, ends, "DeepFoolAttack")
    yield (
        "foolbox Brendel-Bethge", True,
        lambda: foolbox(torch_copy(), norm, ends, "BrendelBethgeAttack", steps=1000),
    )  # fmt: skip
    library = "AutoAttack" if norm == "l1" else "torchattacks"
    yield f"{library} FAB-T", True, lambda: fab(torch_copy(), norm, ends)
    for effort in ("fast", "standard", "thorough"):
        yield f"graphprune {effort}", False, partial(ours, network, norm, domain, effort)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", action="append", help="default: mnist-a, mnist-c-robust, mnist-c"
    )
    parser.add_argument("--anchors", type=int, default=50)
    parser.add_argument("--skip", type=int, default=0, help="anchors left out before the first")
    parser.add_argument("--images", default=str(MODELS / "mnist-test-100.npz"), help="anchors file")
    parser.add_argument("--labels", help="of an IDX file of images")
    parser.add_argument("--only", action="append", help="attacks whose name contains this")
    parser.add_argument("--norm", choices=list(NORMS), default="linf")
    parser.add_argument("--cifar", type=Path, help="a folder with vnncomp and vnncomp2")
    options = parser.parse_args()
    default = () if options.cifar else ("mnist-a", "mnist-c-robust", "mnist-c")
    for name in options.model or default:
        path = MODELS / f"{name}.onnx" if not name.endswith(".onnx") else Path(name)
        network = gp.load(path)
        anchors = gp.load_anchors(options.images, network, labels=options.labels)[options.skip :]
        measure(path, network, anchors, gp.Domain(), options)
    if options.cifar:
        tasks = cifar_tasks(options.cifar, lambda _: True, options.skip + options.anchors, 0.0)
        for path, found in groupby(tasks, lambda task: task.network):
            network = gp.load(path)
            anchors = [task.anchor(network) for task in found][options.skip :]
            measure(path, network, anchors, NOWHERE, options)


def measure(
    path: Path,
    network: gp.Network,
    anchors: Sequence[gp.Anchor],
    domain: gp.Domain,
    options: argparse.Namespace,
) -> None:
    """One table."""
    x = np.stack([a.x for a in anchors]).astype(np.float32)
    said = run_original(network, x).argmax(axis=1)
    labels = np.array([a.label for a in anchors])
    y = np.where(labels == PREDICTED, said, labels)
    right = np.flatnonzero(said == y)[: options.anchors]
    x, y = x[right], y[right]

    distances: dict[str, Array] = {}
    seconds: dict[str, float] = {}
    peers: list[str] = []
    for label, peer, make in attacks(path, network, options.norm, domain):
        if options.only and not any(part in label for part in options.only):
            continue
        try:
            attack = make()
            attack(x[:1], y[:1])  # compilation and imports are not counted
        except ImportError as error:
            print(f"{label}: left out: {error}")
            continue
        start = process_time()
        points = attack(x, y)
        seconds[label] = process_time() - start
        logits = run_original(network, points.astype(np.float32))
        own = logits[np.arange(len(y)), y]
        logits[np.arange(len(y)), y] = -np.inf
        inside = np.array([domain.contains(point) for point in points])
        good = (logits.max(axis=1) >= own) & inside
        away = norm_of(options.norm).lengths(points.astype(np.float64) - x)
        distances[label] = np.where(good, away, np.inf)
        if peer:
            peers.append(label)
    report(path.stem, options.norm, distances, seconds, peers)


def report(
    name: str, norm: str, distances: dict[str, Array], seconds: dict[str, float], peers: list[str]
) -> None:
    count = len(next(iter(distances.values())))
    print(f"\n{name}, {norm}, {count} anchors\n")
    print("| attack | mean distance | ratio | seconds | ratio | failures | best of peers met |")
    print("|---|---|---|---|---|---|---|")
    rows = dict(distances)
    best = np.min([distances[p] for p in peers], axis=0) if peers else None
    if best is not None:
        rows["best of all peers, image by image"] = best
        seconds["best of all peers, image by image"] = sum(seconds[p] for p in peers)
    reference = seconds.get("PGD bisection 12x40x5")
    for label, values in rows.items():
        found = np.isfinite(values)
        mean = float(values[found].mean()) if found.any() else float("nan")
        cells = [label, f"{mean:.5f}"]
        if best is None:
            cells += ["-"]
        else:
            both = found & np.isfinite(best)
            cells += [f"{values[both].mean() / best[both].mean():.4f}"]
        cells += [f"{seconds[label]:.2f}"]
        cells += ["-" if reference is None else f"{seconds[label] / reference:.2f}"]
        cells += [str(int((~found).sum()))]
        cells += ["-" if best is None else f"{int((values <= best * (1 + 1e-6)).sum())}/{count}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
