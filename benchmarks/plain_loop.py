"""The training loop of the papers, written plainly: what the same model costs without this repository's care.

Rows are made user by user and padded to full length; every slot of the batch is encoded, padding and
repetitions included; scores are one dense matrix over all slots (or all items), padded positions included.
It follows the official code of MoRec (SIGIR 2023, https://github.com/westlake-repl/IDvs.MoRec), except that
its two Python loops over users and positions, which build the mask of rejected candidates, are tensor
operations here. Towers, heads and backbone are copies of ours, so that the loop alone is compared.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset, default_collate

from datamodules.collate import log_popularity
from datamodules.splits import Windows
from zoo.sequential import SequentialRecommender
from zoo.types import Content

REJECTED = float("-inf")
PlainLoss = Literal["in_batch", "full"]


class PlainRows(Dataset[npt.NDArray[np.int64]]):
    """One user's training history a time, left-padded to L + 1 slots."""

    def __init__(self, windows: Windows, max_len: int) -> None:
        self.offsets, self.items, self.width = windows.offsets, windows.items, max_len + 1

    def __getitem__(self, user: int) -> npt.NDArray[np.int64]:
        """The slots of one user row."""
        history = self.items[self.offsets[user] : self.offsets[user + 1] - 2][-self.width :]
        slots = np.zeros(self.width, dtype=np.int64)
        slots[self.width - len(history) :] = history
        return slots


class PlainLoop:
    """A copy of a model, trained by the plain loop on the same users.

    Args:
        model: Attached to its catalogue; its weights are copied.
        windows: Histories of all users.
        loss: ``in_batch``, or ``full`` for cross-entropy over the whole catalogue.
    """

    def __init__(self, model: SequentialRecommender, windows: Windows, loss: PlainLoss) -> None:
        items, trainer = model.items, model._trainer
        assert items is not None
        assert model.spec is not None
        model.items = model._trainer = None
        self.model = copy.deepcopy(model)
        model.items, model._trainer = items, trainer
        self.items = items
        self.rows = PlainRows(windows, model.spec.max_len)
        self.log_pop_I = torch.from_numpy(log_popularity(items.counts_I)).to(model.device)
        self.optimizer = torch.optim.AdamW(self.model.parameter_groups(), lr=model.lr)
        losses: dict[PlainLoss, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
            "in_batch": self._in_batch,
            "full": self._full,
        }
        self.criterion = losses[loss]

    def batch(self, users: Sequence[int]) -> Tensor:
        """Slots (B, S) of user rows, on the model's device."""
        ids_BS: Tensor = default_collate([self.rows[user] for user in users])
        return ids_BS.to(self.model.device)

    def content(self, ids_N: Sequence[int]) -> dict[str, Content]:
        """What the towers read, of all slots; on the host."""
        return self.items.content(np.asarray(ids_N), list(self.model.specs))

    def loss(self, ids_BS: Tensor) -> Tensor:
        """The mean loss of a batch of padded slots."""
        flat = torch.cat([ids_BS.new_zeros(1), ids_BS.flatten()])  # encode_items leaves its first row out
        content = self.content(flat.tolist())
        on_device = {m: {f: t.to(flat.device) for f, t in part.items()} for m, part in content.items()}
        slot_SD = self.model.encode_items(flat, on_device)[1:]
        input_BLD = slot_SD.view(*ids_BS.shape, -1)[:, :-1]
        user_BLD = self.model.sequence(input_BLD, ids_BS[:, :-1] != 0)
        return self.criterion(user_BLD, slot_SD, ids_BS)

    def _in_batch(self, user_BLD: Tensor, slot_SD: Tensor, ids_BS: Tensor) -> Tensor:
        """Every position against every slot of the batch, less the log share of its item."""
        batch, slots = ids_BS.shape
        flat = ids_BS.flatten()
        logits = user_BLD.flatten(0, 1) @ slot_SD.T - self.log_pop_I[flat]
        # A user's own items are no negatives, nor is padding; the target itself stays.
        own_BI = torch.zeros(batch, len(self.log_pop_I), dtype=torch.bool, device=flat.device)
        own_BI.scatter_(1, ids_BS, True)
        rejected = (own_BI[:, flat] | (flat == 0)).repeat_interleave(slots - 1, 0)
        label = torch.arange(batch * slots, device=flat.device).view(batch, slots)[:, 1:].flatten()
        rejected.scatter_(1, label[:, None], False)
        logits = logits.masked_fill(rejected, REJECTED)
        real = (ids_BS[:, :-1] != 0).flatten()
        return F.cross_entropy(logits[real], label[real])

    def _full(self, user_BLD: Tensor, slot_SD: Tensor, ids_BS: Tensor) -> Tensor:
        """Every position, padded ones included, against the whole table of item ids."""
        table_ID = self.model.get_parameter("encoders.item_id.table.weight")
        logits = user_BLD.flatten(0, 1) @ table_ID.T
        logits[:, 0] = REJECTED
        label = ids_BS[:, 1:].masked_fill(ids_BS[:, :-1] == 0, 0)
        return F.cross_entropy(logits, label.flatten(), ignore_index=0)

    def step(self, users: Sequence[int]) -> None:
        """Loads, scores, differentiates and updates."""
        self.optimizer.zero_grad()
        self.loss(self.batch(users)).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
