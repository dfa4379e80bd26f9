"""The four implementations of CROWN's bound agree, and each encloses what samples do."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from graphprune.backends.certificate.systems import SystemRelaxation
from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.condensed import bounds_of
from graphprune.backends.relaxation.subproblem import CondensedRegion, Subproblem
from graphprune.bounds import (
    Boxes,
    LayerBounds,
    linear_bounds,
    pre_activation_bounds,
    using_engine,
)
from graphprune.check import parse_model
from graphprune.check.bound import lower_bounds
from graphprune.check.forms import AffineForm, csr
from graphprune.check.points import Points
from graphprune.check.verify import condense
from graphprune.errors import UnsupportedError
from graphprune.ir import Network
from graphprune.pipeline.verify import samples_in
from graphprune.region import Ball, Domain
from graphprune.runtime.reference import forward64
from graphprune.testing import networks

Floats = NDArray[np.float64]

EXAMPLES = 24
# The engines of bounds round to float32, relatively to the largest values that the logits' terms
# take; the condensed rows and the checker compute in float64.
SINGLE = 1e-4
DOUBLE = 1e-9


@st.composite
def balls(draw: st.DrawFn, network: Network) -> Ball:
    """Boxes around points of [0.2, 0.8], cut by a domain or not."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    center = rng.uniform(0.2, 0.8, network.input_shape).astype(np.float32).astype(np.float64)
    domain = draw(st.sampled_from([Domain(), Domain(-1.0, 2.0), Domain(-np.inf, np.inf)]))
    return Ball(center, draw(st.floats(0.05, 0.6)), domain)


def condensed_bounds(
    network: Network, ball: Ball, layers: list[LayerBounds], rows: Floats
) -> Floats:
    """The search's kernels on the condensed network."""
    region = CondensedRegion.of(network, ball, bounds_of(layers))
    found = []
    for row in rows:
        case = Subproblem.of(region, row)
        workspace = kernels.workspace_for(case.rows)
        net = case.relaxation, case.specification, 0.0
        found.append(kernels.linear_bound(*net, case.parameters, workspace)[0])
    return np.array(found)


def checked_bounds(
    network: Network, ball: Ball, layers: list[LayerBounds], rows: Floats
) -> Floats | None:
    """The checker's inequality on its own system; None: it does not read such models."""
    try:
        model = parse_model(network.source.proto.SerializeToString())
    except UnsupportedError:
        return None
    lower = np.concatenate([np.zeros(0), *(low for low, _ in bounds_of(layers))])
    upper = np.concatenate([np.zeros(0), *(high for _, high in bounds_of(layers))])
    if len(lower) != model.neurons:
        return None
    phase = np.where(lower >= 0, 1, np.where(upper <= 0, -1, 0)).astype(np.int8)
    free = phase == 0
    box = Points.box(ball.lower.reshape(-1), ball.upper.reshape(-1))
    system, logits = condense(model, box, phase, lower[free], upper[free])
    wide = logits.widen(len(system.low))
    goals = AffineForm(csr(rows @ wide.rows), rows @ wide.offset, np.abs(rows) @ wide.error)
    relaxation = SystemRelaxation(system)
    parameters = [relaxation.start] * len(rows)
    multipliers, _ = relaxation.multipliers(goals, parameters)
    phases = np.zeros((len(rows), system.width), np.int8)
    return lower_bounds(system, goals, phases, multipliers)


def test_engines_agree_and_enclose_samples() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES)
    @given(st.data(), networks(), st.integers(0, 2**32 - 1))
    def agree(data: st.DataObject, network: Network, seed: int) -> None:
        ball = data.draw(balls(network))
        boxes = Boxes.of(ball)
        # The bounds below are the same for all, and so are the slopes.
        layers = pre_activation_bounds(network, boxes, "ibp")
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(3, network.classes)).astype(np.float32).astype(np.float64)
        found = {"condensed": condensed_bounds(network, ball, layers, rows)}
        for name in ("graph", "compact"):
            with using_engine(name):
                found[name] = linear_bounds(network, boxes, layers, rows)[0]
        checked = checked_bounds(network, ball, layers, rows)
        if checked is not None:
            found["checker"] = checked
        unit = np.eye(network.classes)
        ends = [linear_bounds(network, boxes, layers, sign * unit, "ibp")[0] for sign in (1, -1)]
        scale = np.abs(rows) @ np.maximum(*np.abs(ends)) + 1.0
        common = found["condensed"]
        for name, bounds in found.items():
            assert np.all(bounds >= common - SINGLE * scale), (name, found)
            # The compact engine takes a row's bound by the layers on its way down as well.
            equal = np.all(bounds <= common + SINGLE * scale)
            assert equal or name == "compact", (name, found)
            seen[f"equal {name}"] += bool(equal)
        values = forward64(network, samples_in(ball, 30, seed))[0] @ rows.T
        for name, bounds in found.items():
            assert np.all(values >= bounds - DOUBLE * scale), name
            seen[name] += 1
        seen["unstable"] += any(np.any(layer.unstable) for layer in layers)

    agree()
    # Not empty: every engine took part, and there were neurons to relax.
    assert min(seen["graph"], seen["compact"], seen["condensed"]) >= EXAMPLES
    assert seen["checker"] >= EXAMPLES // 4
    assert seen["equal compact"] >= EXAMPLES // 2
    assert seen["unstable"] >= EXAMPLES // 4
