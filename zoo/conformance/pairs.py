"""The checks of models of pairs. Each raises ``AssertionError`` with what was expected and what was found."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from zoo.callbacks.checkpoint import StepCheckpoint
from zoo.collaborative import CollaborativeRecommender
from zoo.conformance.case import Case
from zoo.conformance.checks import (
    check_deterministic,
    check_gradients,
    check_precision,
    check_reload,
    require_learns,
)
from zoo.metrics.topk import TopKMean, target_hits, user_values
from zoo.types import LabelBatch


def check_beats_popularity(case: Case) -> None:
    """The loss is finite and falls, and Recall@20 beats popularity."""
    require_learns(case, "recall@20", popularity_recall(case), epochs=5)


def popularity_recall(case: Case) -> float:
    """Recall@20 of recommending the most frequent items to everybody."""
    table_I1 = torch.from_numpy(case.data.items.counts_I).float()[:, None]
    metric = TopKMean()
    for batch in case.data.val_dataloader():
        targets_B = (batch.target_BP > 0).sum(1)
        one_B1 = torch.ones(len(batch.user_B), 1)
        hits_BK = target_hits(one_B1, table_I1, batch.target_BP, batch.hidden_BH)
        metric.update(user_values(hits_BK, targets_B), targets_B)
    return metric.compute()["recall@20"]


def check_tables(case: Case) -> None:
    """A row for every user and item, padding zero, all numbers finite, also for whoever has no pair."""
    model, spec = built(case), case.data.spec
    user_UD, item_ID = model.tables()
    assert (len(user_UD), len(item_ID)) == (spec.n_users, spec.n_items), "A row is missing or too many."
    assert not user_UD[0].any(), "Row 0 of the user table is not zero."
    assert not item_ID[0].any(), "Row 0 of the item table, the padding item, is not zero."
    assert torch.isfinite(user_UD).all(), "A user has no finite vector."
    assert torch.isfinite(item_ID).all(), "An item has no finite vector."
    assert torch.equal(model.item_table(), item_ID), "item_table() differs from one call to the next."
    user_B = torch.arange(min(5, len(user_UD) - 1))
    with torch.no_grad():
        found_BI = model.scores(user_B, (user_UD[1:], item_ID[1:]))
    gap = (found_BI - user_UD[1:][user_B] @ item_ID[1:].T).abs().max().item()
    assert gap < 1e-5, f"scores() is not the inner product of the tables: off by {gap:.2e}."


def check_users_permuted(case: Case) -> None:
    """Permuting the users of a batch permutes what is found for them."""
    model, batch = built(case), case.eval_batch()
    order = torch.randperm(len(batch.user_B))
    found_BM = model.test_step(batch, 0)["values_BM"]
    shuffled_BM = model.test_step(LabelBatch(*(field[order] for field in batch)), 0)["values_BM"]
    gap = (shuffled_BM - found_BM[order]).abs().max().item()
    assert gap < 1e-6, f"Permuting the users of a batch changes their metrics by {gap:.2e}."


def check_processes(case: Case) -> None:
    """Users dealt to two processes give the metrics of one, to the last bit."""
    model = built(case)
    table_ID, one, two = model.item_table(), TopKMean(), [TopKMean(), TopKMean()]
    for batch in case.data.val_dataloader():
        for metric, part in ((one, slice(None)), (two[0], slice(0, None, 2)), (two[1], slice(1, None, 2))):
            user_B, target_BP, hidden_BH = (field[part] for field in batch)
            targets_B = (target_BP > 0).sum(1)
            user_BD = model.user_vectors(LabelBatch(user_B, target_BP, hidden_BH), table_ID)
            metric.update(
                user_values(target_hits(user_BD, table_ID, target_BP, hidden_BH), targets_B), targets_B
            )
    for name in ("sum_M", "squares_M", "users"):
        together = getattr(two[0], name) + getattr(two[1], name)
        assert torch.equal(together, getattr(one, name)), f"{name} differs between one process and two."


def check_resumed(case: Case) -> None:
    """A run interrupted within its second epoch and resumed equals an uninterrupted one, to the last bit."""
    batches = len(case.data.train_dataloader())
    assert batches > 2, f"The check needs more than two batches an epoch, found {batches}: lower batch_size."
    ends = []
    with tempfile.TemporaryDirectory() as folder:
        last = Path(folder) / "last.ckpt"
        for steps, resume in ((-1, None), (batches + 1, None), (-1, last)):
            torch.manual_seed(1)
            model = case.make()
            trainer = case.trainer(
                folder,
                2,
                max_steps=steps,
                limit_val_batches=0,
                callbacks=[] if steps == -1 else [StepCheckpoint(1, folder)],
                enable_checkpointing=steps != -1,
            )
            trainer.fit(model, datamodule=case.module, ckpt_path=resume, weights_only=True)
            ends.append(model.state_dict())
    different = [name for name in ends[0] if not torch.equal(ends[0][name], ends[2][name])]
    assert not different, f"The resumed run differs in {different}."


def built(case: Case) -> CollaborativeRecommender:
    """A fresh model of pairs in evaluation mode."""
    model = case.built().eval()
    assert isinstance(model, CollaborativeRecommender)
    return model


PAIR_CHECKS: tuple[Callable[[Case], None], ...] = (
    check_gradients,
    check_beats_popularity,
    check_tables,
    check_users_permuted,
    check_processes,
    check_reload,
    check_precision,
    check_deterministic,
    check_resumed,
)
