"""A small residual network of bottlenecks, after the "shielded" networks of the Huang et al. series.

Those (arXiv:2005.04730) have 194,433 parameters, few enough for some thousand known lenses: convolutions of 1 x 1
shield those of 3 x 3 from most of the channels. Here that idea is kept, and so is the size, at 193,697 parameters; the
number and width of the blocks, the stem and where the image is halved are our own choice, made for 64 x 64 pixels and
for speed on a CPU. What this network scores is ours, not parity with theirs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STAGES = ((32, 16, 3), (64, 32, 3), (128, 48, 4))
"""Of each stage: channels, channels that its 3 x 3 convolutions see, blocks. All but the first halve the image."""


class Bottleneck(nn.Module):
    """What a block adds to its input: 1 x 1 to few channels, 3 x 3 among them, 1 x 1 back.

    Normalisation and activation come first (He et al. 2016, arXiv:1603.05027), so that the sum itself is left alone.
    """

    def __init__(self, n_in: int, n_out: int, n_inside: int, stride: int) -> None:
        super().__init__()
        self.before = _active(n_in)
        self.change = nn.Sequential(
            nn.Conv2d(n_in, n_inside, 1, bias=False),
            _active(n_inside),
            nn.Conv2d(n_inside, n_inside, 3, stride=stride, padding=1, bias=False),
            _active(n_inside),
            nn.Conv2d(n_inside, n_out, 1, bias=False),
        )
        is_same = n_in == n_out and stride == 1
        self.shortcut = None if is_same else nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Add the change to the input, or to the input brought to the output's shape."""
        active = self.before(images)
        kept = images if self.shortcut is None else self.shortcut(active)
        changed: Tensor = kept + self.change(active)
        return changed


class ShieldedResNet(nn.Module):
    """Stem, three stages of bottlenecks, mean over the image, one logit."""

    def __init__(self) -> None:
        super().__init__()
        n_channels = STAGES[0][0]
        self.stem = nn.Conv2d(3, n_channels, 5, stride=2, padding=2, bias=False)
        blocks: list[nn.Module] = []
        for stage, (n_out, n_inside, n_blocks) in enumerate(STAGES):
            for block in range(n_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Bottleneck(n_channels, n_out, n_inside, stride))
                n_channels = n_out
        self.blocks = nn.Sequential(*blocks)
        self.after = _active(n_channels)
        self.head = nn.Linear(n_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images of any size from 16 pixels on, shape (n, 1)."""
        features = self.after(self.blocks(self.stem(images)))
        logit: Tensor = self.head(torch.mean(features, dim=(2, 3)))
        return logit


def _active(n_channels: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(n_channels), nn.ReLU(inplace=True))
