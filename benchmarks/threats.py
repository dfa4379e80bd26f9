"""Threat models against the same questions asked otherwise.

python benchmarks/threats.py folded TRUTH    normalise on CIFAR networks against the file with the
                                             normalisation written into it, and VNN-LIB's verdicts
python benchmarks/threats.py patch           a 5 x 5 patch on mnist-a: interval, and random search
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import numpy as np
import onnx
from onnx import helper, numpy_helper

import graphprune as gp
from graphprune.backends.verify import network_for, verify
from graphprune.region import Domain
from graphprune.runtime.original import run_original
from graphprune.threats import Threat
from graphprune.vnnlib import read_property

MODELS = Path(__file__).parent.parent / "models"
# Networks, properties, mean, std and radius of their benchmarks.
CIFAR = (
    ("oval21/onnx/cifar_base_kw.onnx", "oval21/vnnlib/*.gz", (0.485, 0.456, 0.406),
     (0.225, 0.225, 0.225), None),
    ("cifar10_resnet/onnx/resnet_2b.onnx", "cifar10_resnet/v*/*/*.gz", (0.4914, 0.4822, 0.4465),
     (0.2471, 0.2435, 0.2616), 2 / 255),
)  # fmt: skip


def folded(path: Path, mean: np.ndarray, std: np.ndarray) -> onnx.ModelProto:
    """The file with (x - mean) / std written in front of its nodes."""
    model = onnx.load(path)
    name = model.graph.input[-1].name
    for read in model.graph.node:
        read.input[:] = ["normal" if i == name else i for i in read.input]
    for label, numbers in (("mean", mean), ("std", std)):
        tensor = numbers.astype(np.float32).reshape(1, 3, 1, 1)
        model.graph.initializer.append(numpy_helper.from_array(tensor, label))
    first = [
        helper.make_node("Sub", [name, "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normal"]),
    ]
    nodes = [*first, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def raw(
    prop: Path, mean: np.ndarray, std: np.ndarray, eps: float | None
) -> tuple[np.ndarray, float]:
    """The image of a property in [0, 1], and its radius."""
    low, high = read_property(str(prop)).regions[0].box.outward
    low, high = (
        e.reshape(3, 32, 32) * std[:, None, None] + mean[:, None, None] for e in (low, high)
    )
    eps = float(prop.name.split("eps")[1].split(".vnn")[0]) if eps is None else eps
    image = np.where(low > 1e-5, low + eps, high - eps)
    return np.clip(np.round(image * 255) / 255, 0, 1).astype(np.float32), eps


def in_pixels(x: np.ndarray, eps: float, label: int, folder: str) -> str:
    """The same property with X in [0, 1]."""
    low, high = np.maximum(x.astype(float) - eps, 0), np.minimum(x.astype(float) + eps, 1)
    lines = [f"(declare-const X_{i} Real)" for i in range(x.size)]
    lines += [f"(declare-const Y_{j} Real)" for j in range(10)]
    for i, (a, b) in enumerate(zip(low.ravel().tolist(), high.ravel().tolist(), strict=True)):
        lines += [f"(assert (>= X_{i} {a!r}))", f"(assert (<= X_{i} {b!r}))"]
    others = " ".join(f"(and (>= Y_{j} Y_{label}))" for j in range(10) if j != label)
    path = Path(folder) / "raw.vnnlib"
    path.write_text("\n".join([*lines, f"(assert (or {others}))"]))
    return str(path)


def compared(truth: Path, images: int, limit: float) -> Iterator[str]:
    """Rows: every metric of both forms, the box's error, and the verdicts."""
    for file, pattern, means, stds, radius in CIFAR:
        path = truth / "vnncomp" / file
        mean, std = np.array(means), np.array(stds)
        text = [f"{name}={'+'.join(map(str, v))}" for name, v in (("mean", means), ("std", stds))]
        threat = f"normalise{{{' '.join(text)}}}"
        network, other = gp.load(path), gp.from_proto(folded(path, mean, std))
        for prop in sorted((truth / "vnncomp").glob(pattern))[:images]:
            x, eps = raw(prop, mean, std, radius)
            prepared = Threat.parse(threat).prepared(network, Domain())
            anchor = gp.Anchor(x, int(run_original(prepared, x[None])[0].argmax()))
            box = read_property(str(prop)).regions[0].box.outward
            ball = anchor.ball(eps, Domain())
            assert prepared.source.entry is not None
            sides = [prepared.source.entry.image(s[None]).ravel() for s in (ball.lower, ball.upper)]
            error = max(float(np.abs(s - b).max()) for s, b in zip(sides, box, strict=True))
            row, seconds = [prop.name[:34], f"{error:.1e}"], []
            for one, by in ((network, threat), (other, None)):
                start = process_time()
                adv = gp.attack(one, anchor, threat=by)
                rob = gp.certify(one, anchor, threat=by, upper=adv.distance)
                bnd = gp.distance(one, anchor, threat=by, time_limit=limit, known_attack=adv,
                                  known_certificate=rob)  # fmt: skip
                seconds.append(process_time() - start)
                row += [
                    f"{adv.distance:.6f}",
                    f"{rob.radius:.6f}",
                    f"[{bnd.lower:.6f}, {bnd.upper:.6f}]",
                ]
            with tempfile.TemporaryDirectory() as folder:
                question = read_property(in_pixels(x, eps, anchor.label, folder))
                first = verify(network, read_property(str(prop)), time_limit=limit)
                behind = Threat.parse(threat).prepared(
                    network_for(path, question), Domain(-np.inf, np.inf)
                )
                row += [first.answer, verify(behind, question, time_limit=limit).answer]
            yield " | ".join([*row, *(f"{s:.1f}" for s in seconds)])


def patch(images: int, limit: float) -> Iterator[str]:
    """Rows: the interval after `limit` seconds, the attack, and random search in as many points."""
    network = gp.load(MODELS / "mnist-a.onnx")
    rng = np.random.default_rng(0)
    for anchor in gp.load_anchors(MODELS / "mnist-test-100.npz", network)[:images]:
        start = process_time()
        adv = gp.attack(network, anchor, threat="patch")
        took = process_time() - start
        bnd = gp.distance(network, anchor, threat="patch", time_limit=limit)
        best, tries, start = np.inf, 0, process_time()
        while process_time() - start < 10 * took:
            # Half of the points at corners of a cube, whose side shrinks to below the best.
            radius = min(best, 1.0) * rng.uniform(0.5, 1.0, (500, 1, 1))
            step = rng.uniform(-1, 1, (500, 5, 5))
            step[::2] = np.sign(step[::2])
            points = np.repeat(anchor.x[None], 500, axis=0)
            place = points[:, 0, 11:16, 11:16]
            points[:, 0, 11:16, 11:16] = np.clip(place + radius * step, 0, 1)
            won = run_original(network, points).argmax(axis=1) != anchor.label
            lengths = np.abs(points[won].astype(float) - anchor.x).max(axis=(1, 2, 3), initial=0.0)
            best, tries = min(best, float(lengths.min(initial=np.inf))), tries + 500
        yield " | ".join(
            [str(anchor.index), bnd.status, f"{bnd.lower:.5f}", f"{bnd.upper or np.nan:.5f}",
             f"{bnd.seconds:.1f}", f"{adv.distance or np.nan:.5f}", f"{took:.2f}", f"{best:.5f}",
             str(tries)]
        )  # fmt: skip


if __name__ == "__main__":
    rows = compared(Path(sys.argv[2]), 2, 10.0) if sys.argv[1] == "folded" else patch(20, 10.0)
    for line in rows:
        print(line, flush=True)
