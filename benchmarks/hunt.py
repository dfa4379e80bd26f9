"""Random networks of every operator and scale through every component, against other oracles.

    python -m benchmarks.hunt [--seconds S] [--first N] [--count N] [--seed S] [--only N]

Loading, written files, attacks, certificates, exact distances, proofs, properties and pipelines are
held against ONNX's reference implementation in float64, ONNX Runtime, corners and samples of balls,
and HiGHS on mixed-integer programs of small ReLU networks. A lower end is wrong where a point
nearer than it is adversarial in float64 by more than rounding; an upper end where its point is not
one in ONNX Runtime. Every number of a network is replayed by ``--seed S --only N``.
"""

import argparse
import logging
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic, process_time

import numpy as np
import onnx
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

import graphprune as gp
from benchmarks.milp import MOST, Program
from graphprune.backends.verify import verify
from graphprune.check import Refused
from graphprune.check import verify as check
from graphprune.check.model import parse_model
from graphprune.errors import UnsupportedError
from graphprune.evaluate.distance import Distance
from graphprune.evaluate.proofs import proof_file
from graphprune.evaluate.results import Job
from graphprune.evaluate.run import evaluate
from graphprune.evaluate.settings import Settings
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.testing import many_operator_models, models
from graphprune.vnnlib import parse_property
from tests.oracles import original64

Floats = NDArray[np.float64]
# Networks drawn together: one seed of Hypothesis.
BLOCK = 40
KINDS = (many_operator_models(smooth=True), many_operator_models(), models())
# Operators whose constants may be of any scale.
WEIGHTED = ("Conv", "Gemm", "MatMul", "ConvTranspose", "Add", "Sub")
# A margin above this share of the largest number in a network is no rounding of float64.
CLEAR = 1e-9
# The reference rounds results of Erf to float32, and has HardSwish's 1/6 in float64, unlike files.
ROUNDED = ("Erf", "HardSwish")
# Float32 runs may differ by this share of it.
SINGLE = 1e-4
LIMIT = 2.0
PIPELINES = (
    "fuse-affine", "dead-code, merge-neurons, fuse-affine",
    "bounds{radius=0.01}, prune-stable, fuse-affine",
    "bounds{method=ibp radius=0.01}, prune-stable",
)  # fmt: skip


@dataclass
class Case:
    """A network of the hunt with its anchor and domain, and what is known of adversarial points."""

    number: int
    rng: np.random.Generator
    network: gp.Network
    anchor: gp.Anchor
    domain: gp.Domain
    magnitude: float
    found: list[str] = field(default_factory=list)
    checks: Counter[str] = field(default_factory=Counter)
    nearest: float = np.inf

    def check(self, component: str, holds: bool, said: str) -> None:
        """Count a check; what does not hold is a finding."""
        self.checks[component] += 1
        if not holds:
            self.found.append(f"{component}: {said}")

    def adversarial(self, points: Floats) -> None:
        """Keep the distance of the nearest point that clearly is adversarial in float64."""
        low, high = self.domain.interval
        points = np.clip(points.reshape(-1, *self.network.input_shape), low, high)
        x0 = self.anchor.x.astype(np.float64)
        distances = np.abs(points - x0).reshape(len(points), -1).max(axis=1)
        logits = forward64(self.network, points)[0]
        others = np.delete(logits, self.anchor.label, axis=1).max(axis=1)
        wins = others - logits[:, self.anchor.label] > CLEAR * self.magnitude
        for i in np.flatnonzero(wins & (distances < self.nearest)):
            exact, clear = self.reference(points[i : i + 1])
            margin = np.delete(exact[0], self.anchor.label).max() - exact[0, self.anchor.label]
            if margin > clear * self.magnitude and distances[i] < self.nearest:
                self.nearest = float(distances[i])

    def reference(self, points: NDArray[np.floating]) -> tuple[Floats, float]:
        """The file's logits (N, classes) by another hand, and the share that may be rounding.

        ONNX's reference fails on files of its own standard, padded pools among them; there
        ONNX Runtime speaks alone.
        """
        try:
            return original64(self.network, points), CLEAR
        except Exception:
            self.checks["without the reference"] += 1
        return run_original(self.network, points.astype(np.float32)).astype(np.float64), SINGLE

    def lower_end(self, component: str, lower: float) -> None:
        """Check that nothing adversarial is nearer than a lower end."""
        self.check(component, lower <= self.nearest * (1 + 1e-9), f"{lower!r} > {self.nearest!r}")


def block(
    number: int, base: int, kinds: Sequence[st.SearchStrategy[onnx.ModelProto]] = KINDS
) -> list[onnx.ModelProto]:
    """The models of a block, always the same ones, of some kinds."""
    found: list[onnx.ModelProto] = []

    @seed(base * 1_000_003 + number)
    @settings(
        max_examples=BLOCK, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.one_of(*kinds))
    def collect(model: onnx.ModelProto) -> None:
        found.append(model)

    collect()
    return found


def rescaled(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    """The model with weights off their grid, and in half of the cases of other scales."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    used = {name for node in model.graph.node if node.op_type in WEIGHTED for name in node.input}
    spread = rng.choice([0.0, 0.0, 0.5, 1.0, 2.0])
    for tensor in changed.graph.initializer:
        if tensor.name not in used or tensor.data_type != TensorProto.FLOAT:
            continue
        array = numpy_helper.to_array(tensor)
        array = (
            array * (1 + 0.1 * rng.normal(size=array.shape)) * 10 ** rng.uniform(-spread, spread)
        )
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), tensor.name))
    for node in changed.graph.node:
        # Defaults are numbers of float32, which the reference takes in float64.
        known = {attribute.name for attribute in node.attribute}
        schema = onnx.defs.get_schema(node.op_type)
        for name, attribute in schema.attributes.items():
            default = attribute.default_value
            if name not in known and default.type == onnx.AttributeProto.FLOAT:
                node.attribute.append(onnx.helper.make_attribute(name, default.f))
    return changed


def _magnitude(network: gp.Network, x: Floats) -> float:
    """The largest number that the network computes at points."""
    logits, *values = forward64(network, x)
    return max(1e-3, *(float(np.abs(v).max(initial=0.0)) for v in (logits, *values)))


def load(case: Case, model: onnx.ModelProto, x: NDArray[np.float32]) -> None:
    """The canonical form, the written file and the float32 file agree."""
    network, size = case.network, case.magnitude
    logits = forward64(network, x)[0]
    exact, clear = case.reference(x[: network.source.batch_size or 3])
    off = float(np.abs(logits[: len(exact)] - exact).max())
    rounds = any(node.op_type in ROUNDED for node in model.graph.node)
    holds = off <= (SINGLE if rounds else clear) * size
    case.check("load", holds, f"{off:.3g} from the reference, of {size:.3g}")
    runtime = run_original(network, x)
    off = float(np.abs(logits - runtime).max())
    case.check("load", off <= SINGLE * size, f"{off:.3g} from ONNX Runtime, of {size:.3g}")
    again = gp.from_proto(gp.to_proto(network))
    off = float(np.abs(run_original(again, x) - runtime).max())
    case.check("write", off <= SINGLE * size, f"the written file is {off:.3g} away, of {size:.3g}")


def points_around(case: Case) -> None:
    """Corners and samples of balls of many radii, and the programs' nearest points."""
    rng, n = case.rng, case.anchor.x.size
    x0 = case.anchor.x.astype(np.float64).reshape(-1)
    signs = rng.choice([-1.0, 0.0, 1.0], (120, n))
    if n <= 5:
        signs = np.concatenate([signs, np.array(np.meshgrid(*[[-1.0, 1.0]] * n)).reshape(n, -1).T])
    signs = np.concatenate([signs, rng.uniform(-1, 1, (60, n))])
    radii = 10 ** rng.uniform(-3, 0.3, (len(signs), 1))
    case.adversarial(x0 + signs * radii)
    network = case.network
    low, high = case.domain.interval
    small = network.neurons + network.auxiliary_neurons <= MOST
    smooth = any(node.op_type != "Relu" for node in network.activations)
    if not small or smooth or not np.isfinite(high - low):
        return
    program = Program.of(network, np.full(n, low), np.full(n, high))
    for target in range(network.classes):
        if target == case.anchor.label:
            continue
        point = program.nearest(x0, case.anchor.label, target)
        if point is not None:
            # Just behind the boundary too: the program's tolerances may stop before it.
            pushes = 1 + np.array([0.0, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4])[:, None]
            case.adversarial(x0 + pushes * (point - x0))
    case.checks["program"] += 1


def distances(case: Case) -> None:
    """Attack, certificate and exact distance against all points known."""
    network, anchor, domain = case.network, case.anchor, case.domain
    attacked = gp.attack(network, anchor, domain=domain, effort="fast", seed=case.number % 1000)
    certified = gp.certify(network, anchor, domain=domain, time_limit=LIMIT)
    try:
        exact = gp.distance(network, anchor, domain=domain, time_limit=LIMIT)
    except UnsupportedError:  # a function that neither the search nor SCIP knows
        exact = Distance(0.0, None, "interval", None, True, 0, 0.0)
        case.checks["refused: distance"] += 1
    for name, witness in (("attack", attacked.witness), ("distance", exact.witness)):
        if witness is not None:
            _confirmed(case, name, witness)
            case.adversarial(witness.x.astype(np.float64))
    points_around(case)
    case.lower_end("certify", certified.radius)
    case.lower_end("distance", exact.lower)
    if exact.upper is not None:
        holds = exact.lower <= exact.upper
        case.check("distance", holds, f"[{exact.lower}, {exact.upper}]")
    if exact.status == "robust":
        case.check("distance", not case.nearest < exact.lower, "robust where a point is known")
    if exact.status == "exact" and exact.upper is not None:
        # The next point that is clearly adversarial may lie a little behind.
        case.check(
            "distance", exact.upper <= case.nearest * (1 + 2e-4) + 2e-6, "exact is not least"
        )


def _confirmed(case: Case, name: str, witness: gp.Witness) -> None:
    """The point is adversarial in ONNX Runtime, in the domain, at its distance."""
    logits = run_original(case.network, witness.x[None])[0]
    wins = logits[witness.target] >= logits[case.anchor.label]
    case.check(name, bool(wins), f"its point does not win: {logits}")
    low, high = case.domain.interval
    inside = np.all((witness.x >= low) & (witness.x <= high))
    off = witness.x.astype(np.float64) - case.anchor.x.astype(np.float64)
    case.check(name, bool(inside), "its point is outside the domain")
    distance = float(np.abs(off).max())
    same = abs(distance - witness.distance) <= 1e-12 * (1 + distance)
    case.check(name, same, f"{witness.distance} for {distance}")


def proofs(case: Case) -> None:
    """A proof is accepted by the checker, and its lower end holds."""
    try:
        model = parse_model(case.network.source.proto.SerializeToString())
    except gp.GraphpruneError:
        return
    wanted = Settings(metrics=("bnd",), certificate=True, time_limit=LIMIT, domain=case.domain)
    job = Job(case.network, [case.anchor])
    outcome = evaluate([job], wanted)
    try:
        (result,) = check(proof_file(model, job, outcome, wanted), model)
    except Refused as reason:
        case.check("proof", False, f"refused: {reason}")
        return
    case.lower_end("proof", result.lower)
    reported = outcome.documents[0]["anchors"][0].get("d_bnd", {}).get("lower", result.lower)
    case.check("proof", reported == result.lower, f"reported {reported}, proven {result.lower}")


def properties(case: Case) -> None:
    """A property of a box: the counterexample is one, and there is none where it says so."""
    rng, network = case.rng, case.network
    x0 = case.anchor.x.astype(np.float64).reshape(-1)
    radius = 10 ** rng.uniform(-3, -0.3)
    low, high = x0 - radius, x0 + radius
    label, n = case.anchor.label, len(x0)
    inside = np.concatenate(
        [rng.uniform(low, high, (80, n)), rng.choice([-1, 1], (60, n)) * radius + x0]
    )
    shaped = inside.reshape(-1, *network.input_shape)
    logits = forward64(network, shaped)[0]
    other = int(rng.choice([t for t in range(network.classes) if t != label]))
    weights = np.eye(network.classes)[[other]]
    if rng.random() < 0.5:
        weights, limit, tail = weights - np.eye(network.classes)[[label]], 0.0, f"Y_{label}"
    else:
        spread = np.ptp(logits[:, other]) + 1e-6
        limit = float(logits[:, other].max() + spread * rng.uniform(-0.2, 0.5))
        tail = repr(limit)
    lines = [f"(declare-const X_{i} Real)" for i in range(n)]
    lines += [f"(declare-const Y_{j} Real)" for j in range(network.classes)]
    lines += [
        f"(assert (>= X_{i} {float(low[i])!r})) (assert (<= X_{i} {float(high[i])!r}))"
        for i in range(n)
    ]
    text = "\n".join([*lines, f"(assert (>= Y_{other} {tail}))"])
    prop = parse_property(text)
    verdict = verify(network, prop, time_limit=LIMIT)
    if verdict.point is not None:
        x = verdict.point.x
        boxed = prop.regions[0].box.contains(x)
        case.check("verify", boxed, f"its point is outside the box: {x}")
        y = run_original(network, x.reshape(1, *network.input_shape).astype(np.float32))[0]
        slack = float((weights @ y.astype(np.float64))[0] - limit)
        case.check("verify", slack >= -1e-12, f"sat by {slack}")
    if verdict.answer != "unsat":
        case.checks[f"verify {verdict.answer}"] += 1
        return
    smooth = any(node.op_type != "Relu" for node in network.activations)
    if network.neurons + network.auxiliary_neurons <= MOST and not smooth:
        point = Program.of(network, low, high).most_slack(weights, np.array([limit]), n)
        if point is not None:
            inside = np.concatenate([inside, np.clip(point, low, high)[None]])
    logits = forward64(network, inside.reshape(-1, *network.input_shape))[0]
    slack = float((logits @ weights[0]).max() - limit)
    case.check("verify", slack <= CLEAR * case.magnitude, f"unsat, but a point has slack {slack}")


def pipelines(case: Case, x: NDArray[np.float32]) -> None:
    """A rewritten network gives the same numbers near the anchor."""
    text = str(case.rng.choice(PIPELINES))
    run = gp.Pipeline.parse(text).run(case.network, case.anchor, domain=case.domain)
    result = run.network
    near = case.anchor.x + case.rng.uniform(-0.01, 0.01, (20, *case.network.input_shape))
    near = np.clip(near, *case.domain.interval).astype(np.float32)
    expected = forward64(case.network, near)[0]
    off = float(np.abs(forward64(result, near)[0] - expected).max())
    said = f"{text}: {off:.3g} away, of {case.magnitude:.3g}"
    case.check("pipeline", off <= 1e3 * CLEAR * case.magnitude, said)
    got = run_original(gp.from_proto(gp.to_proto(result)), near)
    off = float(np.abs(got - expected).max())
    said = f"{text}, written: {off:.3g} away, of {case.magnitude:.3g}"
    case.check("pipeline", off <= SINGLE * case.magnitude, said)


def hunt(number: int, base: int, drawn: onnx.ModelProto) -> tuple[Counter[str], list[str]]:
    """All checks of one network: how many, and what does not hold."""
    rng = np.random.default_rng([base, number])
    model = rescaled(drawn, rng)
    try:
        network = gp.from_proto(model)
    except gp.GraphpruneError as error:
        return Counter({f"refused: {type(error).__name__}": 1}), []
    low, high = [(0.0, 1.0), (-1.0, 2.0), (-np.inf, np.inf)][rng.choice(3, p=[0.7, 0.2, 0.1])]
    count = network.source.batch_size or 6
    x = rng.uniform(0, 1, (max(count, 6) // count * count, *network.input_shape)).astype(np.float32)
    start = rng.uniform(0.2, 0.8, network.input_shape).astype(np.float32)
    scores = forward64(network, start[None])[0][0]
    magnitude = _magnitude(network, np.concatenate([x, start[None]]))
    label = int(scores.argmax())
    case = Case(number, rng, network, gp.Anchor(start, label), gp.Domain(low, high), magnitude)
    load(case, model, x)
    if np.sort(scores)[-1] - np.sort(scores)[-2] > SINGLE * magnitude:
        distances(case)
        properties(case)
        pipelines(case, x)
        if number % 3 == 0:
            proofs(case)
    return case.checks, case.found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--seconds", type=float, default=np.inf, help="Stop after this much CPU time."
    )
    parser.add_argument("--first", type=int, default=0, help="Number of the first network.")
    parser.add_argument("--count", type=int, default=10**6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="Replay one network.")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    totals: Counter[str] = Counter()
    violations, seen, start = 0, 0, process_time()
    first = options.first if options.only is None else options.only
    last = first + (options.count if options.only is None else 1)
    drawn: list[onnx.ModelProto] = []
    for number in range(first, last):
        if process_time() - start > options.seconds:
            break
        if not drawn or number % BLOCK == 0:
            drawn = block(number // BLOCK, options.seed)
        began = monotonic()
        try:
            checks, found = hunt(number, options.seed, drawn[number % BLOCK % len(drawn)])
        except Exception:
            checks, found = Counter(), [traceback.format_exc(limit=-4)]
        totals += checks
        seen += 1
        violations += len(found)
        for said in found:
            print(f"--seed {options.seed} --only {number}: {said}", flush=True)
        if monotonic() - began > 30:
            print(f"--only {number}: took {monotonic() - began:.0f} s", flush=True)
    beside = ("refused", "verify ", "without ")
    rest = {k: n for k, n in totals.items() if k.startswith(beside)}
    counted = {k: n for k, n in sorted(totals.items()) if k not in rest}
    print(f"{seen} networks, {sum(counted.values())} checks: {counted}; beside: {rest}")
    print(f"{violations} violations, {process_time() - start:.0f} s of CPU time")
    return int(violations > 0)


if __name__ == "__main__":
    sys.exit(main())
