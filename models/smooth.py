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
        query, key, value = self.parts(self.keys(x))
        weights = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(self.sizes[2]), dim=3)
        return self.out(self.joined(weights @ value))

    def parts(self, x: Tensor) -> list[Tensor]:
        """Queries, keys and values, each (N, heads, tokens, width of a head)."""
        tokens, heads, width = self.sizes
        return [
            part.reshape(-1, tokens, heads, width).transpose(1, 2) for part in x.chunk(3, dim=2)
        ]

    def joined(self, x: Tensor) -> Tensor:
        """Tokens (N, tokens, width) of all heads' values."""
        tokens, heads, width = self.sizes
        return x.transpose(1, 2).reshape(-1, tokens, heads * width)


class Block(nn.Module):
    """Attention and a perceptron, each on normalised tokens and added to them."""

    def __init__(self, tokens: int, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        attention = Attention(tokens, width, heads)
        first, last = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.mix = nn.Sequential(nn.LayerNorm(width), attention)
        self.think = nn.Sequential(nn.LayerNorm(width), first, nn.GELU(), last)
        # Named again for `Transformer`; modules of a tuple are not registered twice.
        self.attends, self.outs = (attention,), (attention.out, last)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix(x)
        return x + self.think(x)


class Transformer(nn.Module):
    """A vision transformer on square patches of an image (Dosovitskiy et al. 2021)."""

    def __init__(
        self, patch: int = 7, width: int = 32, heads: int = 4, hidden: int = 128, *,
        calm: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        tokens = (28 // patch) ** 2
        self.embed = nn.Conv2d(1, width, patch, patch)
        self.place = nn.Parameter(0.1 * torch.randn(tokens, width))
        self.stack = tuple(Block(tokens, width, heads, hidden) for _ in range(2))
        self.blocks = nn.Sequential(*self.stack)
        self.head = nn.Linear(width, 10)
        if calm:
            self.calm()
            self.centre()

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.blocks(tokens).mean(dim=1))

    def patches(self, x: Tensor) -> Tensor:
        """Pixels (N, tokens, pixels of a patch), as `embed` reads them."""
        size = self.embed.kernel_size
        return nn.functional.unfold(x, size, stride=size).transpose(1, 2)

    @torch.no_grad()
    def centre(self) -> None:
        """Take from all that is added to tokens its mean over their width.

        Normalisation takes it away again. Where it is 0, tokens need not be centred, and their
        intervals do not grow by it.
        """
        for part in self.added():
            part -= part.mean(0, keepdim=True)
        self.place -= self.place.mean(1, keepdim=True)

    def added(self) -> list[Tensor]:
        """Weights and biases of the layers whose values are added to tokens."""
        layers = [self.embed, *(out for block in self.stack for out in block.outs)]
        return [part for layer in layers for part in (layer.weight, layer.bias) if part is not None]

    @torch.no_grad()
    def calm(self) -> None:
        """Begin with tokens that pixels change little: places stand out, blocks add little."""
        self.place *= 10
        for block in self.stack:
            for out in block.outs:
                out.weight *= 0.1
            block.attends[0].keys.weight[: 2 * self.place.shape[1]] *= 0.3


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
