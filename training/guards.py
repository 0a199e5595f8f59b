"""What a training is stopped for, with the cutouts that are to blame where it is cutouts."""

from __future__ import annotations

import torch
from torch import Tensor

from training.errors import CollapsedError
from training.images import Images

LEAST_SPREAD = 1e-6
"""Validation logits with a smaller standard deviation (relative to their mean, where that is beyond 1) are constant: a
collapsed network. Scores after the sigmoid would not do: they may all round to 0 or 1 and still rank well."""
LEAST_AUC = 0.55
PATIENCE_BELOW_LEAST_AUC = 3
"""So many epochs in a row below `LEAST_AUC` are a failure, unless the labels were shuffled on purpose."""
MAX_NAMED = 10


class LossWatch:
    """Looks at the losses of a pass every few batches: on a GPU each look waits for it, so it takes several at once."""

    def __init__(self, images: Images, cutout_id: Tensor, advice: str, every: int) -> None:
        self._images, self._cutout_id, self._advice, self._every = images, cutout_id, advice, every
        self._seen: list[tuple[Tensor, Tensor]] = []

    def see(self, rows: Tensor, losses: Tensor, shown: Tensor) -> None:
        """Take note of the losses of some rows, shape (n,), and of the images that they are of.

        Raises
        ------
        CollapsedError
            When one of them, or of those before, is not finite.
        """
        # A sum of pixels is finite where each of them is; an infinite one need not show in the loss.
        self._seen.append((rows, torch.stack([losses.detach(), shown.sum(dim=(1, 2, 3), dtype=losses.dtype)])))
        if len(self._seen) >= self._every:
            self.look()

    def look(self) -> None:
        """Look at what was not yet looked at.

        Raises
        ------
        CollapsedError
            When something of it is not finite.
        """
        if self._seen and not torch.cat([values for _, values in self._seen], dim=1).isfinite().all():
            self._refuse()
        self._seen.clear()

    def _refuse(self) -> None:
        rows, values = next(seen for seen in self._seen if not seen[1].isfinite().all())
        pixels = self._images[rows].flatten(1).float()
        is_bad_image = ~pixels.isfinite().all(dim=1).cpu()
        ids = self._cutout_id[rows.cpu()]
        if is_bad_image.any():
            raise CollapsedError(
                f"{name_cutouts(ids[is_bad_image])} {'has' if is_bad_image.sum() == 1 else 'have'} pixels that are not "
                "finite after preprocessing: look at their files, or reject them with `stronglens cutouts validate`"
            )
        is_bad = ~values.isfinite().all(dim=0).cpu()
        farthest = pixels.abs().amax(dim=1).cpu()[is_bad].argsort(descending=True)
        value = values[0][~values[0].isfinite()][:1].tolist() or [float("inf")]
        raise CollapsedError(
            f"the loss became {value[0]} {self._advice}, or look at {name_cutouts(ids[is_bad][farthest])} "
            "(the most extreme pixels first)"
        )


def require_finite_scores(output: Tensor, cutout_id: Tensor, epoch: int) -> None:
    """Check the logits of the validation split, shape (n,).

    Raises
    ------
    CollapsedError
        When some are not finite.
    """
    is_bad = ~output.isfinite()
    if is_bad.any():
        raise CollapsedError(
            f"the validation scores of epoch {epoch} are not finite for {int(is_bad.sum())} of {len(output)} cutouts: "
            f"lower learning_rate, or look at {name_cutouts(cutout_id[is_bad])}"
        )


def find_trouble(output: Tensor, epoch: int, aucs: list[float], *, is_control: bool) -> str | None:
    """Say why a training has failed after an epoch, from its validation logits and the AUC of every epoch so far."""
    if output.double().std().item() < LEAST_SPREAD * max(1.0, abs(output.double().mean().item())):
        return f"the validation scores of epoch {epoch} are constant: the network collapsed"
    last = aucs[-PATIENCE_BELOW_LEAST_AUC:]
    if not is_control and len(last) == PATIENCE_BELOW_LEAST_AUC and max(last) < LEAST_AUC:
        return (
            f"validation AUC below {LEAST_AUC} for {PATIENCE_BELOW_LEAST_AUC} epochs in a row "
            f"(now {aucs[-1]:.3f}): the network learns nothing"
        )
    return None


def name_cutouts(cutout_id: Tensor) -> str:
    """Name cutouts by their ids, the first ten of them."""
    ids = cutout_id.tolist()
    more = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    return f"cutout{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids[:MAX_NAMED]))}{more}"
