"""A training loader whose place in the epoch is part of the checkpoint."""

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from datamodules.sampler import TrainBatchSampler


class ResumableLoader(DataLoader[Any]):
    """Counts the batches it hands out, and after a restart goes on with the next one.

    Lightning stores ``state_dict()`` of every training loader that has one in its checkpoints, and gives it
    back before the first batch is asked for. What counts is what the trainer has received: batches that
    worker processes prepared ahead are made again.

    Args:
        dataset: Answers ``__getitems__(EpochRows)`` with a whole batch.
        batch_sampler: Order of the rows.
        collate_fn: Makes the batch of what the data set answered; runs where the data set does.
        num_workers: Processes that make batches; with 0 the trainer's own does.
        pin_memory: Copies batches to page-locked memory.
        persistent_workers: Keeps the worker processes from one epoch to the next.
        prefetch_factor: Batches a worker makes ahead.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_sampler: TrainBatchSampler,
        collate_fn: Callable[[Any], Any] | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        persistent_workers: bool = False,
        prefetch_factor: int | None = None,
    ) -> None:
        super().__init__(
            dataset,
            batch_sampler=batch_sampler,  # type: ignore[arg-type]  # what is asked for need not be a list
            collate_fn=collate_fn,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=persistent_workers and num_workers > 0,
            prefetch_factor=prefetch_factor,
        )
        self._order = batch_sampler
        self._epoch = batch_sampler.epoch
        self._done = batch_sampler.done

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # the base promises its own iterator class
        """One pass: the rest of the epoch after a restart, a whole epoch otherwise.

        A generator, so that nothing is drawn before the first batch is asked for: Lightning makes the
        iterator first and sets the epoch afterwards, and workers would start on the wrong one.
        """
        sampler = self._order
        self._epoch, self._done = sampler.epoch, sampler.done
        batches = super().__iter__()
        sampler.resume(sampler.epoch, 0)  # only this pass starts late, not a second one over the same epoch
        for batch in batches:
            self._done += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Where the next batch comes from: ``epoch``, batches ``done`` of it, and ``batches`` it has."""
        batches = len(self._order)
        alike = {} if self._order.length_R is None else {"alike": 1}
        if self._done >= batches:
            return {"epoch": self._epoch + 1, "done": 0, "batches": batches, **alike}
        return {"epoch": self._epoch, "done": self._done, "batches": batches, **alike}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes to the place that ``state_dict`` described.

        Raises:
            ValueError: If the epoch is begun and its batches are no longer the same, or as many.
        """
        epoch, done, batches = state["epoch"], state["done"], state["batches"]
        alike, now_alike = "alike" in state, self._order.length_R is not None
        if done and alike != now_alike:
            raise ValueError(
                f"The checkpoint was written in mid-epoch with bucket: {str(alike).lower()}, but now it is "
                f"{str(now_alike).lower()}: the epoch's other batches are not the same. Resume with the same "
                "value, or from a checkpoint of an epoch's end."
            )
        if done and batches != len(self._order):
            raise ValueError(
                f"The checkpoint was written after {done} of {batches} batches of epoch {epoch}, but an "
                f"epoch now has {len(self._order)}. Resume with the same data, batch size and number of "
                "processes, or from a checkpoint of an epoch's end."
            )
        self._epoch, self._done = epoch, done
        self._order.resume(epoch, done)
