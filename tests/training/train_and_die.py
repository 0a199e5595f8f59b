"""Train in a folder and be killed after an epoch: python -m tests.training.train_and_die FOLDER EPOCH."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from tests.training.conftest import SMALL, _ring_cutouts
from tests.training.runs import ring_job
from training.config import TrainConfig
from training.fit import EpochResult
from training.run.work import train_in

RECIPE = TrainConfig(
    name="tiny",
    draw="rings",
    scheme="cells",
    preprocessing=SMALL,
    batch_size=16,
    epochs=3,
    learning_rate=1e-3,
    balance="sampling",
    device="cpu",
    shuffle_labels=True,
)


def main() -> None:
    """Do it."""
    torch.set_num_threads(1)
    folder, last = Path(sys.argv[1]), int(sys.argv[2])

    def on_epoch(row: EpochResult) -> None:
        if row.epoch == last:
            os.kill(os.getpid(), signal.SIGKILL)

    train_in(folder, ring_job(RECIPE, _ring_cutouts), on_epoch=on_epoch)


if __name__ == "__main__":
    main()
