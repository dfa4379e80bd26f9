"""Train and export the networks that ship with graphprune.

    python models/train.py --mnist DIR [--only NAME]... [--out DIR]

DIR holds MNIST's four IDX .gz files; nothing is downloaded. Every recipe is seeded and runs on
one thread, so the same machine and torch version give the same file again.
"""

import argparse
import gzip
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from images import Interval, image, leads
from smooth import Transformer, silu, sine, squeeze_excite
from torch import Tensor, nn

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


@dataclass(frozen=True)
class Recipe:
    """Architecture and training of one network.

    Attributes
    ----------
    make
        Makes the network; without it, it is a stack of convolutions and layers with ReLUs.
    convs
        (out channels, kernel, stride, padding) of every convolution.
    hidden
        Widths of the fully connected hidden layers.
    epochs, rate, seed
        Adam with a one-cycle learning rate that peaks at `rate`.
    stability
        Weight of -tanh(1 + l u) summed over the ReLUs (Xiao et al. 2019), at `radius`.
    sparsity
        Weight of the L1 norm of the weights.
    robust
        Final share of the interval-bound loss (Gowal et al. 2018), at `radius`.
    radius
        L-infinity radius of both, ramped up over the first half of the epochs.
    part
        Share of a batch whose images have interval bounds (transformers only).
    batch
        Images of a step.
    """

    convs: tuple[tuple[int, int, int, int], ...]
    hidden: tuple[int, ...]
    epochs: int
    rate: float = 3e-3
    seed: int = 0
    stability: float = 0.0
    sparsity: float = 0.0
    robust: float = 0.0
    radius: float = 0.0
    part: float = 1.0
    batch: int = 128
    make: Callable[[], nn.Module] | None = None


A = Recipe(convs=((5, 4, 2, 1), (8, 4, 2, 1)), hidden=(18,), epochs=8)
B = Recipe(convs=((8, 4, 2, 1), (12, 4, 2, 1)), hidden=(40,), epochs=6)
C = Recipe(convs=((16, 4, 2, 1), (24, 4, 2, 1)), hidden=(88,), epochs=6)

RECIPES = {
    "mnist-tiny": Recipe(
        convs=((4, 5, 3, 0), (8, 4, 2, 0)), hidden=(20,), epochs=24,
        stability=2e-3, sparsity=3e-4, radius=0.12,
    ),
    "mnist-a": A,
    "mnist-a-stable": replace(A, epochs=24, stability=2.5e-3, sparsity=4e-4, radius=0.1),
    "mnist-b": B,
    "mnist-b-stable": replace(B, epochs=20, stability=2.5e-3, sparsity=3e-4, radius=0.15),
    "mnist-c": C,
    "mnist-c-robust": replace(C, epochs=20, robust=0.5, radius=0.11),
    "mnist-d": Recipe(convs=((16, 4, 2, 1), (16, 3, 1, 1), (32, 4, 2, 1)), hidden=(160,), epochs=5),
    "mnist-silu": Recipe(convs=(), hidden=(), epochs=6, make=silu),
    "mnist-se": Recipe(convs=(), hidden=(), epochs=6, make=squeeze_excite),
    "mnist-vit": Recipe(
        convs=(), hidden=(), epochs=24, robust=0.1, radius=0.001, part=0.375, batch=256,
        make=partial(Transformer, patch=14, heads=2, hidden=96, calm=True),
    ),
    "mnist-vit-plain": Recipe(convs=(), hidden=(), epochs=14, make=Transformer),
    "mnist-e": Recipe(
        convs=((16, 4, 2, 1), (16, 3, 1, 1), (32, 4, 2, 1), (32, 3, 1, 1)), hidden=(368,), epochs=5
    ),
}  # fmt: skip


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped."""
    with gzip.open(path) as file:
        data = file.read()
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape.astype(int))


def read_mnist(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 1, 28, 28) uint8 and labels (N,)."""
    images, labels = (read_idx(folder / name) for name in FILES[part])
    return images[:, None], labels.astype(np.int64)


def build(recipe: Recipe) -> nn.Module:
    if recipe.make is not None:
        return recipe.make()
    layers: list[nn.Module] = []
    channels, side = 1, 28
    for out, kernel, stride, padding in recipe.convs:
        layers += [nn.Conv2d(channels, out, kernel, stride, padding), nn.ReLU()]
        channels, side = out, (side + 2 * padding - kernel) // stride + 1
    layers.append(nn.Flatten())
    width = channels * side * side
    for hidden in recipe.hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    layers.append(nn.Linear(width, 10))
    return nn.Sequential(*layers)


def intervals(net: nn.Sequential, low: Tensor, high: Tensor) -> Iterator[Interval]:
    """Interval bounds of every pre-activation, then of the logits."""
    box = Interval(low, high)
    for layer in net:
        if isinstance(layer, nn.ReLU):
            yield box
        box = image(layer, box)
    yield box


def worst_logits(low: Tensor, high: Tensor, y: Tensor) -> Tensor:
    """The label's lower bound against everyone else's upper bound."""
    return torch.where(nn.functional.one_hot(y, 10).bool(), low, high)


def loss_of(net: nn.Module, recipe: Recipe, x: Tensor, y: Tensor, ramp: float) -> Tensor:
    loss = nn.functional.cross_entropy(net(x), y)
    if recipe.robust and isinstance(net, Transformer):
        some = int(recipe.part * len(x))
        worst = leads(net, x[:some], y[:some], recipe.radius * ramp)
        # The share is not ramped up: a transformer that trains plainly at first has no bounds.
        share = recipe.robust
        return (1 - share) * loss + share * nn.functional.cross_entropy(worst, y[:some])
    if recipe.stability or recipe.robust:
        radius = recipe.radius * ramp
        assert isinstance(net, nn.Sequential)
        bounds = list(intervals(net, (x - radius).clamp(0, 1), (x + radius).clamp(0, 1)))
        if recipe.robust:
            share = recipe.robust * ramp
            worst = nn.functional.cross_entropy(worst_logits(*bounds[-1], y), y)
            loss = (1 - share) * loss + share * worst
        if recipe.stability:
            unstable = sum(-torch.tanh(1 + low * high).sum() for low, high in bounds[:-1])
            loss = loss + recipe.stability * ramp * unstable / len(x)
    if recipe.sparsity:
        loss = loss + recipe.sparsity * sum(p.abs().sum() for p in net.parameters() if p.dim() > 1)
    return loss


def train(recipe: Recipe, images: np.ndarray, labels: np.ndarray) -> nn.Module:
    torch.manual_seed(recipe.seed)
    net = build(recipe)
    x = torch.from_numpy(images).float() / 255
    y = torch.from_numpy(labels)
    steps = len(x) // recipe.batch
    optimiser = torch.optim.Adam(net.parameters(), recipe.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total_steps=recipe.epochs * steps
    )
    bounded = net if recipe.robust and isinstance(net, Transformer) else None
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(x))
        total = 0.0
        for step in range(steps):
            pick = order[step * recipe.batch : (step + 1) * recipe.batch]
            ramp = min(1.0, 2 * (epoch + step / steps) / recipe.epochs)
            loss = loss_of(net, recipe, x[pick], y[pick], ramp)
            optimiser.zero_grad()
            loss.backward()
            if bounded is not None:
                # Bounds of a transformer that move too far at once do not come back.
                nn.utils.clip_grad_norm_(net.parameters(), 8.0)
            optimiser.step()
            schedule.step()
            if bounded is not None:
                bounded.centre()
            total += float(loss)
        print(f"  epoch {epoch + 1}/{recipe.epochs} loss {total / steps:.4f}", flush=True)
    if recipe.sparsity:
        prune_weights(net)
    return net.eval()


@torch.no_grad()
def prune_weights(net: nn.Module) -> None:
    """Weights that L1 has driven to nothing become exact zeros (Xiao et al. 2019, section 3.1)."""
    for p in net.parameters():
        p[p.abs() < 1e-3] = 0.0


@torch.no_grad()
def accuracy(net: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share classified correctly."""
    x, y = torch.from_numpy(images).float() / 255, torch.from_numpy(labels)
    parts = zip(x.split(1000), y.split(1000), strict=True)
    return sum(int((net(part).argmax(1) == want).sum()) for part, want in parts) / len(x)


@torch.no_grad()
def certified(net: nn.Sequential, images: np.ndarray, labels: np.ndarray, radius: float) -> float:
    """Share certified within a radius by interval bounds."""
    x, y = torch.from_numpy(images).float() / 255, torch.from_numpy(labels)
    right = 0
    for part, want in zip(x.split(1000), y.split(1000), strict=True):
        low, high = (part - radius).clamp(0, 1), (part + radius).clamp(0, 1)
        bounds = list(intervals(net, low, high))[-1]
        right += int((worst_logits(*bounds, want).argmax(1) == want).sum())
    return right / len(x)


@torch.no_grad()
def unstable(net: nn.Sequential, images: np.ndarray, radius: float) -> list[float]:
    """Mean number of unstable ReLUs per layer by interval bounds."""
    x = torch.from_numpy(images).float() / 255
    bounds = list(intervals(net, (x - radius).clamp(0, 1), (x + radius).clamp(0, 1)))
    return [float(((low < 0) & (high > 0)).sum()) / len(x) for low, high in bounds[:-1]]


def export(net: nn.Module, example: Tensor, path: Path) -> None:
    """Write ONNX beside `path`, then rename: readers never see half a file."""
    temporary = path.with_suffix(".partial")
    torch.onnx.export(
        net, (example,), str(temporary), opset_version=17, dynamo=False,
        input_names=["x"], output_names=["logits"],
        dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}},
    )  # fmt: skip
    temporary.replace(path)


def make_anchors(mnist: Path, out: Path) -> None:
    """100 seeded random training images, and the first 100 test images."""
    pick = np.sort(np.random.default_rng(0).choice(60_000, 100, replace=False))
    for name, part, index in (("train", "train", pick), ("test", "test", np.arange(100))):
        images, labels = read_mnist(mnist, part)
        np.savez_compressed(
            out / f"mnist-{name}-100.npz", x=images[index], y=labels[index], index=index
        )


def spiral() -> tuple[Tensor, Tensor]:
    """Points (4000, 2) of two interleaved spiral arms in the unit square, and their arms."""
    random = np.random.default_rng(0)
    turn = random.uniform(0.25, 1.35, 4000)
    label = random.integers(0, 2, 4000)
    angle = np.pi * (1.5 * turn + label)
    arm = np.stack([turn * np.cos(angle), turn * np.sin(angle)], 1)
    points = 0.5 + 0.34 * (arm + random.normal(0, 0.03, arm.shape))
    return torch.from_numpy(points).float(), torch.from_numpy(label)


def make_toy(name: str, net: Callable[[], nn.Module], out: Path) -> None:
    """A network of two inputs that tells the arms of the spiral apart."""
    x, y = spiral()
    torch.manual_seed(0)
    made = net()
    optimiser = torch.optim.Adam(made.parameters(), 5e-3)
    for _ in range(1500):
        loss = nn.functional.cross_entropy(made(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    right = float((made(x).argmax(1) == y).float().mean())
    print(f"{name}: accuracy on its points {right:.4f}")
    export(made, x[:1], out / f"{name}.onnx")
    np.savez_compressed(out / "toy-2d-anchors.npz", x=x[:10].numpy(), y=y[:10].numpy())


def toy() -> nn.Module:
    """Three hidden layers of ReLUs."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((2, 24, 24, 24)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(24, 2))


TOYS = {"toy-2d": toy, "sine-2d": sine}


def main() -> int:
    names = [*RECIPES, *TOYS, "anchors"]
    parser = argparse.ArgumentParser(description="Train and export the shipped networks.")
    parser.add_argument("--mnist", type=Path, required=True, help="folder of the IDX .gz files")
    parser.add_argument("--only", action="append", choices=names, help="default: everything")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    missing = [f for part in FILES.values() for f in part if not (options.mnist / f).is_file()]
    if missing:
        print(
            f"{options.mnist}: missing {', '.join(missing)}\n"
            "MNIST is at http://yann.lecun.com/exdb/mnist/ (mirror:"
            " https://ossci-datasets.s3.amazonaws.com/mnist/); put the four .gz files in one"
            " folder and name it: make models MNIST=DIR",
            file=sys.stderr,
        )
        return 2
    torch.set_num_threads(1)
    wanted = options.only or names
    if "anchors" in wanted:
        make_anchors(options.mnist, options.out)
    for name, made in TOYS.items():
        if name in wanted:
            make_toy(name, made, options.out)
    for name, recipe in RECIPES.items():
        if name not in wanted:
            continue
        print(name, flush=True)
        start = time.monotonic()
        net = train(recipe, *read_mnist(options.mnist, "train"))
        test = read_mnist(options.mnist, "test")
        minutes = (time.monotonic() - start) / 60
        print(
            f"{name}: parameters {sum(p.numel() for p in net.parameters())},"
            f" accuracy {accuracy(net, *test):.4f}, {minutes:.1f} minutes"
        )
        if recipe.make is None:
            assert isinstance(net, nn.Sequential)
            print(
                f"  certified at 0.1 {certified(net, *test, 0.1):.4f},"
                f" unstable at 0.1 {unstable(net, test[0][:200], 0.1)}"
            )
        export(net, torch.zeros(1, 1, 28, 28), options.out / f"{name}.onnx")
    return 0


if __name__ == "__main__":
    sys.exit(main())
