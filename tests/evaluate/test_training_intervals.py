"""Intervals that `models/train.py` trains with hold every point of the ball."""

from importlib import import_module
from typing import Any

import pytest

from tests.conftest import MODELS


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(MODELS))
    return pytest.importorskip("torch")


def transformer(torch: Any) -> Any:
    torch.manual_seed(0)
    net = import_module("smooth").Transformer(patch=14, width=8, heads=2, hidden=12, calm=True)
    with torch.no_grad():
        for part in net.parameters():
            part += 0.1 * torch.randn(part.shape)
    net.centre()
    return net


@pytest.mark.parametrize("radius", [0.003, 0.03])
def test_no_point_of_a_ball_leads_by_more(torch: Any, radius: float) -> None:
    net = transformer(torch)
    x, y = 0.2 + 0.6 * torch.rand(16, 1, 28, 28), torch.randint(0, 10, (16,))

    def leads_at(points: Any) -> Any:
        logits = net(points)
        return logits - logits.gather(1, y[:, None])

    most = import_module("images").leads(net, x, y, radius)
    for _ in range(30):
        assert torch.all(leads_at(x + radius * torch.randn_like(x).sign()) <= most + 1e-4)
    for target in range(10):
        points = x.clone().requires_grad_()
        leads_at(points)[:, target].sum().backward()
        worst = leads_at(x + radius * points.grad.sign())[:, target]
        assert torch.all(worst <= most[:, target] + 1e-4)


@pytest.mark.parametrize("kind", ["linear", "gelu", "normalised", "shares"])
def test_ends_are_those_of_points(torch: Any, kind: str) -> None:
    """Corners of a box, and points within, reach every end of these, and none is beyond."""
    images, nn = import_module("images"), torch.nn
    torch.manual_seed(1)
    middle, width = torch.randn(6, 1, 4), torch.rand(6, 1, 4)
    box = images.Interval(middle - width, middle + width)
    made = {"linear": nn.Linear(4, 3), "gelu": nn.GELU(), "normalised": nn.LayerNorm(4)}
    values = {
        "linear": made["linear"],
        "gelu": made["gelu"],
        # Tokens have mean 0 where it is used.
        "normalised": lambda x: x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt(),
        "shares": lambda x: torch.softmax(x, -1),
    }[kind]
    side = torch.linspace(-1, 1, 9)
    points = middle + width * torch.cartesian_prod(side, side, side, side)
    least, most = (end(values(points), 1) for end in (torch.amin, torch.amax))
    bounds = images.shares(box) if kind == "shares" else images.image(made[kind], box)
    for bound, reached, sign in ((bounds.low, least, 1), (bounds.high, most, -1)):
        over = sign * (reached - bound[:, 0])
        assert torch.all(over >= -1e-5)
        assert torch.all(over <= 0.02)


def test_products_of_positive_numbers_end_at_the_product_of_their_ends(torch: Any) -> None:
    images = import_module("images")
    left, right = (images.Interval(low, low + 1) for low in torch.rand(2, 5, 1, 3))
    bounds = images.product(left, right.map(lambda end: end.transpose(1, 2)))
    assert torch.allclose(bounds.high, (left.high * right.high).sum(2, keepdim=True))
    assert torch.all(bounds.low <= (left.low * right.low).sum(2, keepdim=True))


def test_balls_of_nothing_are_their_points(torch: Any) -> None:
    net = transformer(torch)
    x, y = torch.rand(4, 1, 28, 28), torch.tensor([3, 1, 4, 1])
    logits = net(x)
    leads = import_module("images").leads(net, x, y, 0.0)
    assert torch.allclose(leads, logits - logits.gather(1, y[:, None]), atol=1e-4)
