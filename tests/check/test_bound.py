"""The inequality and the forms against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.check.bound import System, UpperPlanes, lower_bounds, plane_slack
from graphprune.check.forms import AffineForm, Propagation, ReluPhases, csr, intervals
from graphprune.check.model import parse_model
from graphprune.check.steps import Model
from tests.conftest import Floor
from tests.drawn import labelled
from tests.oracles import Perceptron


def exact(array: np.ndarray) -> np.ndarray:
    """The same numbers as fractions."""
    return np.array([Fraction(float(v)) for v in array.ravel()], object).reshape(array.shape)


def random_system(
    rng: np.random.Generator, inputs: int, width: int, planes: int, *, signs: bool = False
) -> System:
    """Rows below the diagonal, as a network's; their errors are 0. `signs`: bounds of one sign."""
    basis = inputs + width
    rows = rng.normal(size=(width, basis)) * 10.0 ** rng.integers(-3, 3, (width, basis))
    for j in range(width):
        rows[j, inputs + j :] = 0.0
    lower, upper = -rng.uniform(0.1, 3, width), rng.uniform(0.1, 3, width)
    if signs:
        shift = rng.choice([-4.0, 0.0, 4.0], width)
        lower, upper = lower + shift, upper + shift
    low = np.concatenate([rng.uniform(-1, 0, inputs), np.zeros(width)])
    high = np.concatenate([rng.uniform(0, 1, inputs), np.maximum(upper, 0.0)])
    form = AffineForm(csr(rows), rng.normal(size=width), np.zeros(width))
    own = AffineForm(
        csr(rng.normal(size=(planes, basis))), rng.normal(size=planes), np.zeros(planes)
    )
    neurons = rng.integers(0, width, planes)
    below, above = rng.choice([-0.5, 0.0, 0.5, 1.0], (2, planes))
    return System(inputs, low, high, form, lower, upper, UpperPlanes(neurons, own, below, above))


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2))
def test_bounds_lie_below_the_exact_dual(seed: int, inputs: int, width: int, planes: int) -> None:
    rng = np.random.default_rng(seed)
    system = random_system(rng, inputs, width, planes, signs=bool(rng.integers(2)))
    goal = rng.normal(size=(1, inputs + width))
    states = rng.integers(-1, 2, (1, width)).astype(np.int8)
    m = (rng.normal(size=(1, width)) * 10.0 ** rng.integers(-4, 5, (1, width))).astype(np.float32)
    pi = rng.uniform(0, 2, (1, planes)).astype(np.float32)
    assumed = rng.uniform(0, 2, 1).astype(np.float32)
    row = AffineForm(csr(rng.normal(size=(1, inputs + width))), rng.normal(size=1), np.zeros(1))
    form = AffineForm(csr(goal), rng.normal(size=1), np.zeros(1))
    assert system.planes is not None
    computed = lower_bounds(system, form, states, m, pi, (assumed, row))[0]

    rows, offset = exact(system.form.rows.toarray()), exact(system.form.offset)
    multipliers = exact(m[0])
    c = exact(goal[0]) + multipliers @ rows + exact(assumed)[0] * exact(row.rows.toarray()[0])
    constant = exact(form.offset)[0] + multipliers @ offset
    constant += exact(assumed)[0] * exact(row.offset)[0]
    plane_rows, plane_offset = exact(system.planes.form.rows.toarray()), system.planes.form.offset
    for i, j in enumerate(system.planes.neurons):
        amount = Fraction(float(pi[0, i]))
        c = c - amount * plane_rows[i]
        c[inputs + j] += amount
        constant -= amount * Fraction(float(plane_offset[i]))
    value = constant
    for i in range(inputs):
        value += min(c[i] * Fraction(system.low[i]), c[i] * Fraction(system.high[i]))
    for j in range(width):
        low, high = Fraction(system.lower[j]), Fraction(system.upper[j])
        low = max(low, Fraction(0)) if states[0, j] > 0 else low
        high = min(high, Fraction(0)) if states[0, j] < 0 else high
        # A case that the bounds exclude: anything is a bound, 0 is what the checker says.
        ends = [low, high, *([Fraction(0)] if low < 0 < high else [])] if low <= high else []
        value += min(
            (c[inputs + j] * max(z, Fraction(0)) - multipliers[j] * z for z in ends),
            default=Fraction(0),
        )
    assert Fraction(computed) <= value
    scale = float(np.abs(m).max()) * 1e6 + 1e6
    assert float(value) - computed <= 1e-9 * scale


def _truth(net: Perceptron, x: np.ndarray) -> list[np.ndarray]:
    """Pre-activations and logits in rational arithmetic."""
    values, h = [], exact(x)
    for w, b in zip(net.weights, net.biases, strict=True):
        z = exact(w) @ h + exact(b)
        values.append(z)
        h = np.array([max(v, Fraction(0)) for v in z], object)
    return values


@settings(max_examples=25)
@given(
    labelled([2, 3, 2], [3, 4, 4, 2], low=0.0, high=1.0),
    st.integers(0, 1000),
    st.floats(1e-3, 0.5),
)
def test_forms_and_intervals_hold_at_exact_points(
    drawn: tuple[Perceptron, gp.Network, gp.Anchor], seed: int, radius: float
) -> None:
    rng = np.random.default_rng(seed)
    net, _, anchor = drawn
    model: Model = parse_model(net.model().SerializeToString())
    center = anchor.x.astype(float)
    forms: list[AffineForm] = []
    phases: list[np.ndarray] = []
    bounds: list[tuple[np.ndarray, np.ndarray]] = []
    reach: list[np.ndarray] = [np.zeros(0)]

    def decide(node: int, form: AffineForm) -> ReluPhases:
        low = np.concatenate([center - radius, np.zeros(len(reach[0]))])
        high = np.concatenate([center + radius, reach[0]])
        lower, upper = intervals(form, low, high)
        phase = ((lower >= 0).astype(np.int8) - (upper <= 0)).astype(np.int8)
        forms.append(form)
        phases.append(phase)
        bounds.append((lower, upper))
        reach[0] = np.concatenate([reach[0], upper[phase == 0]])
        return ReluPhases(phase, upper[phase == 0])

    made = Propagation(model, center - radius, center + radius, decide)
    for x in (center + radius * s for s in rng.uniform(-1, 1, (4, len(center)))):
        values = _truth(net, x)
        basis = list(exact(x))
        for form, phase, (lower, upper), z in zip(forms, phases, bounds, values[:-1], strict=True):
            _agrees(form, basis, z)
            assert all(
                Fraction(a) <= v <= Fraction(b) for a, v, b in zip(lower, z, upper, strict=True)
            )
            basis += [max(v, Fraction(0)) for v in z[phase == 0]]
        _agrees(made.logits, basis, values[-1])


def _agrees(form: AffineForm, basis: list[Fraction], truth: np.ndarray) -> None:
    rows = exact(form.rows.toarray())
    own = rows @ np.array(basis[: rows.shape[1]], object) + exact(form.offset)
    assert all(abs(a - b) <= Fraction(e) for a, b, e in zip(own, truth, form.error, strict=True))
    assert np.all(form.error < 1e-10)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_planes_hold_exactly_where_their_slack_says_so(floor: Floor, seed: int) -> None:
    rng = np.random.default_rng(seed)
    system = random_system(rng, 3, 3, 1)
    assert system.planes is not None
    slack = float(plane_slack(system, system.planes)[0])
    j = int(system.planes.neurons[0])
    row, own, planes = system.planes.form, system.form, system.planes
    # The definition, at every corner of the box; and the plane itself at points of it.
    worst = np.inf
    s, t = planes.below[0], planes.above[0]
    corners = [np.array(c, float) for c in np.ndindex(*(2,) * len(system.low))]
    for part in [*corners, *rng.uniform(0, 1, (200, len(system.low)))]:
        v = system.low + part * (system.high - system.low)
        plane = float(row.rows.toarray()[0] @ v + row.offset[0])
        z = float(own.rows.toarray()[j] @ v + own.offset[j])
        if system.lower[j] <= z <= system.upper[j]:
            floor.checked(1, least=1000)
            assert plane - max(z, 0.0) >= slack - 1e-9 * (1 + abs(slack))
        first = plane - s * z + max(s, 0.0) * system.lower[j]
        second = plane - (1 - t) * z - max(t, 0.0) * system.upper[j]
        worst = min(worst, first, second)
    assert slack <= worst + 1e-9 * (1 + abs(worst))
    assert slack >= worst - 1e-6 * (1 + abs(worst))
