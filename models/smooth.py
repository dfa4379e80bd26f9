"""Networks with smooth functions and products: what `train.py` trains beside stacks of ReLUs."""

import math

import torch
from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Every channel times a gate in [0, 1], computed of all channels' means (Hu et al. 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1), nn.Hardsigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Attention(nn.Module):
    """Self-attention over tokens (Vaswani et al. 2017)."""

    def __init__(self, tokens: int, width: int, heads: int) -> None:
        super().__init__()
        self.sizes = tokens, heads, width // heads
        self.keys = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        tokens, heads, width = self.sizes
        query, key, value = (
            part.reshape(-1, tokens, heads, width).transpose(1, 2)
            for part in self.keys(x).chunk(3, dim=2)
        )
        weights = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(width), dim=3)
        return self.out((weights @ value).transpose(1, 2).reshape(-1, tokens, heads * width))


class Block(nn.Module):
    """Attention and a perceptron, each on normalised tokens and added to them."""

    def __init__(self, tokens: int, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.LayerNorm(width), Attention(tokens, width, heads))
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix(x)
        return x + self.think(x)


class Transformer(nn.Module):
    """A vision transformer on patches of 7 x 7 pixels (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int = 32, heads: int = 4, hidden: int = 128, blocks: int = 2) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, width, 7, 7)
        self.place = nn.Parameter(0.1 * torch.randn(16, width))
        self.blocks = nn.Sequential(*(Block(16, width, heads, hidden) for _ in range(blocks)))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.blocks(tokens).mean(dim=1))


class Sine(nn.Module):
    """sin(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


def silu() -> nn.Module:
    """Convolutions, batch normalisation and SiLU."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.SiLU(),
        nn.Conv2d(8, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.SiLU(),
        nn.Flatten(), nn.Linear(784, 28), nn.SiLU(), nn.Linear(28, 10),
    )  # fmt: skip


def squeeze_excite() -> nn.Module:
    """A block of MobileNetV3 (Howard et al. 2019): HardSwish, and gates of channels."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.Hardswish(),
        nn.Conv2d(8, 24, 1), nn.BatchNorm2d(24), nn.Hardswish(),
        nn.Conv2d(24, 24, 3, 2, 1, groups=24), nn.BatchNorm2d(24), SqueezeExcite(24, 6),
        nn.Hardswish(), nn.Conv2d(24, 16, 1), nn.BatchNorm2d(16), nn.Hardswish(),
        nn.Flatten(), nn.Linear(784, 24), nn.Hardswish(), nn.Linear(24, 10),
    )  # fmt: skip


def sine() -> nn.Module:
    """A perceptron of two inputs with sines."""
    return nn.Sequential(nn.Linear(2, 16), Sine(), nn.Linear(16, 16), Sine(), nn.Linear(16, 2))
