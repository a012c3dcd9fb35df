"""The checks. Each raises ``AssertionError`` with what was expected, what was found and the usual cause."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from zoo.conformance.case import Case, OpRecorder, Relabelled, recorded, spoiled, total_loss
from zoo.metrics.ranking import target_rank
from zoo.sequence.base import is_masked
from zoo.sequential import SequentialRecommender
from zoo.transfer import under
from zoo.types import EvalBatch, SequenceBatch

EPOCHS = 40
"""Epochs a model may take to beat popularity; most take a few."""


def check_gradients(case: Case) -> None:
    """Every trainable parameter gets a gradient, every frozen one none."""
    model = case.built().train()
    for batch in case.train_batches():
        total_loss(model, batch).backward()  # type: ignore[no-untyped-call]
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    moved = [n for n, p in model.named_parameters() if not p.requires_grad and p.grad is not None]
    assert not idle, f"Trainable parameters without a gradient: {idle}. Freeze what the loss does not use."
    assert not moved, f"Frozen parameters with a gradient: {moved}."


def check_learns(case: Case) -> None:
    """The loss is finite and falls, and HR@10 beats popularity."""
    require_learns(case, "hr@10", popularity_hit_rate(case))


def require_learns(case: Case, metric: str, popular: float, epochs: int = 1) -> None:
    """The loss is finite and falls, and a validation metric beats what popularity reaches.

    Args:
        case: What is trained.
        metric: Of validation.
        popular: What is to be beaten.
        epochs: To train at least, so that there is a fall to be seen.
    """
    torch.manual_seed(0)  # parameters are drawn when the trainer sets the model up
    model = case.make()
    losses: list[float] = []
    enough = EarlyStopping(f"val/{metric}", mode="max", patience=EPOCHS, stopping_threshold=popular + 1e-6)
    with tempfile.TemporaryDirectory() as folder, recorded(model, losses):
        options = {"min_epochs": epochs, "enable_checkpointing": False}
        trainer = case.trainer(folder, EPOCHS, callbacks=[enough], **options)
        trainer.fit(model, datamodule=case.module)
    found = max(float(enough.best_score), float(trainer.callback_metrics[f"val/{metric}"]))
    assert np.isfinite(losses).all(), f"A training loss is not finite: {losses}"
    tenth = max(1, len(losses) // 10)
    first, last = float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))
    assert last < first, f"The loss does not fall: {first:.4f} at the start, {last:.4f} at the end."
    assert found > popular, (
        f"{metric} {found:.4f} does not beat popularity's {popular:.4f} in {EPOCHS} epochs."
    )


def popularity_hit_rate(case: Case) -> float:
    """HR@10 of recommending the most frequent items to everybody."""
    table_I1 = torch.from_numpy(case.data.items.counts_I).float()[:, None]
    hits = users = 0
    for batch in case.data.val_dataloader():
        rank_B, _ = target_rank(torch.ones(len(batch.target_B), 1), table_I1, batch.target_B, batch.hidden_BH)
        hits, users = hits + int((rank_B <= 10).sum()), users + len(rank_B)
    return hits / users


def check_padding(case: Case) -> None:
    """The content of the padding item changes neither loss nor item vectors."""
    model, batch = case.built().eval(), case.train_batch()
    garbage = {m: {f: spoiled(t) for f, t in part.items()} for m, part in batch.content.items()}
    with torch.no_grad():
        clean, dirty = total_loss(model, batch), total_loss(model, batch._replace(content=garbage))
    assert torch.equal(clean, dirty), f"The padding item's content changes the loss: {clean} against {dirty}."
    assert not model.item_table()[0].any(), "Row 0 of item_table(), the padding item, is not zero."


def check_causal(case: Case) -> None:
    """A later item does not change an earlier state, and padded slots change none.

    A backbone that guesses hidden items reads later ones: only padding is looked at.
    """
    model, batch = case.built().eval(), case.train_batch()
    if not isinstance(model, SequentialRecommender) or not isinstance(batch, SequenceBatch):
        return
    real_BL = batch.items_BS[:, 1:] != 0
    item_BLD = torch.randn(*real_BL.shape, model.item_width)
    later, padded = item_BLD.clone(), item_BLD.clone()
    later[:, -1] = torch.randn(len(item_BLD), model.item_width)
    padded[~real_BL] = 100.0
    with torch.no_grad():
        before, after = model.sequence(item_BLD, real_BL), model.sequence(later, real_BL)
        unpadded = model.sequence(padded, real_BL)
    earlier_BL = real_BL[:, :-1]
    gap = (before - after)[:, :-1][earlier_BL].abs().max().item() if earlier_BL.any() else 0.0
    leaks = gap >= 1e-5 and not is_masked(model.sequence)
    assert not leaks, f"Changing the last item moves earlier states by {gap:.2e}: the future leaks."
    gap = (before - unpadded)[real_BL].abs().max().item()
    assert gap < 1e-5, f"Changing padded slots moves real states by {gap:.2e}: padding leaks."


def check_permutation(case: Case) -> None:
    """Permuting users permutes the results; relabelling items changes nothing for content models."""
    model, batch = case.built().eval(), case.eval_batch()
    with torch.no_grad():
        table_ID = model.item_table()
        user_BD = model.user_vectors(batch, table_ID)
        order = torch.randperm(len(user_BD))
        shuffled = EvalBatch(*(field[order] for field in batch))
        gap = (model.user_vectors(shuffled, table_ID) - user_BD[order]).abs().max().item()
        assert gap < 1e-4, f"Permuting the users of a batch changes their vectors by {gap:.2e}."
        if model.catalogue_bound:
            return
        relabelled = Relabelled(case.data.items)
        model.attach(case.data.spec._replace(fingerprint="relabelled"), relabelled)
        if isinstance(model, SequentialRecommender):
            model.cache_features()
        gap = (model.item_table() - table_ID[relabelled.old_I]).abs().max().item()
    assert gap < 1e-4, f"Relabelling the items changes their vectors by {gap:.2e}: ids leak into content."


def check_item_table(case: Case) -> None:
    """``item_table()`` equals ``encode_items`` whatever the chunk size."""
    model = case.built().eval()
    tables = []
    for chunk in (7, 64, 100_000):
        model.item_chunk = chunk
        tables.append(model.item_table())
    gap = max((table - tables[-1]).abs().max().item() for table in tables)
    assert tables[0].shape[0] == case.data.spec.n_items
    assert gap < 1e-4, f"item_table() depends on its chunk size by {gap:.2e}: does a layer mix items?"


def check_reload(case: Case) -> None:
    """A checkpoint comes back without the data and gives the same metrics."""
    torch.manual_seed(0)
    model = case.make()
    with tempfile.TemporaryDirectory() as folder:
        trainer = case.trainer(folder, epochs=1, limit_train_batches=2, limit_val_batches=0)
        trainer.fit(model, datamodule=case.module)
        before = trainer.validate(model, datamodule=case.module, verbose=False)
        loaded = type(model).load_from_checkpoint(Path(folder) / "end.ckpt")
        after = trainer.validate(loaded, datamodule=case.module, verbose=False)
    assert before == after, f"Metrics before saving {before}, after loading {after}."


def check_precision(case: Case) -> None:
    """bf16 gives a finite loss, nothing is in float64, and a training step never waits for the device."""
    model = case.built().train()
    doubles = [n for n, t in model.state_dict().items() if t.dtype == torch.float64]
    assert not doubles, f"Parameters in float64: {doubles}."
    for batch in case.train_batches():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = total_loss(model, batch)
        assert torch.isfinite(loss), f"The loss under bf16 is {loss}."
        with OpRecorder() as recorder:
            total_loss(model, batch).backward()  # type: ignore[no-untyped-call]
        waiting = recorder.waiting()
        assert not waiting, f"A training step makes the host wait for the device: {waiting}."
        assert not recorder.doubles, f"A training step computes in float64: {sorted(recorder.doubles)}."
    if not model.automatic_optimization:  # its backward passes are under autocast too
        with tempfile.TemporaryDirectory() as folder:
            trainer = case.trainer(folder, 1, precision="bf16-mixed", limit_val_batches=0)
            trainer.fit(case.make(), datamodule=case.module)
    if torch.cuda.is_available():
        require_no_waiting(case)


def require_no_waiting(case: Case) -> None:
    """On a GPU whole steps, from the batch's transfer to the optimiser, in the mode that finds every wait."""
    model = case.built("cuda").train()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), fused=True)
    batches = [model.on_before_batch_transfer(batch, 0) for batch in case.train_batches()]
    for warm in (True, True, False):  # kernels are chosen, buffers and moments made in the first ones
        for batch in batches:
            torch.cuda.set_sync_debug_mode("default" if warm else "error")
            try:
                moved = model.transfer_batch_to_device(pinned(batch), model.device, 0)
                total_loss(model, moved).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                optimizer.zero_grad()
            except RuntimeError as error:
                raise AssertionError(f"A training step makes the host wait for the GPU: {error}") from error
            finally:
                torch.cuda.set_sync_debug_mode("default")


def pinned(batch: Any) -> Any:  # noqa: ANN401
    """A batch in page-locked memory, as loaders hand it out for a GPU: its transfer does not wait."""
    return apply_to_collection(batch, Tensor, Tensor.pin_memory)


def check_cached(case: Case) -> None:
    """Vectors cached from frozen towers give the loss of towers that run."""
    model, batch = case.built().eval(), case.train_batch()
    if not isinstance(model, SequentialRecommender) or not model.specs or model.features:
        return
    with torch.no_grad():
        running = total_loss(model, batch)
        model.specs = {m: replace(spec, cached=True) for m, spec in model.specs.items()}
        model.cache_features()
        cached = total_loss(model, batch)
    gap = abs(running - cached).item()
    # Tokens are kept in half precision: what that costs grows with the loss.
    assert gap < 1e-4 * max(1.0, abs(running.item())), (
        f"The loss is {running:.6f} with running towers and {cached:.6f} from their cache."
    )


def check_deterministic(case: Case) -> None:
    """The same seed gives the same weights to the last bit."""
    ends = []
    for _ in range(2):
        torch.manual_seed(1)
        model = case.make()
        with tempfile.TemporaryDirectory() as folder:
            case.trainer(folder, 1, limit_train_batches=3, limit_val_batches=0).fit(
                model, datamodule=case.module
            )
        ends.append(model.state_dict())
    different = [name for name in ends[0] if not torch.equal(ends[0][name], ends[1][name])]
    assert not different, f"Two runs of one seed differ in {different}."


def check_unseen(case: Case) -> None:
    """Items without a training interaction have vectors of their own, made from their content."""
    model = case.built().eval()
    if model.catalogue_bound:
        return
    table_ID = model.item_table()
    unseen = torch.from_numpy(case.data.items.counts_I == 0)
    unseen[0] = False
    if not unseen.any():
        return
    vectors = table_ID[unseen]
    assert torch.isfinite(vectors).all(), "An item never seen in training has no finite vector."
    distinct = len(torch.unique(vectors.round(decimals=4), dim=0))
    assert distinct > len(vectors) // 2, f"{len(vectors)} unseen items share {distinct} vectors."


def check_transfer(case: Case) -> None:
    """Started from a checkpoint of another catalogue, a model has all but its rows; frozen parts rest."""
    source = case.built().eval()
    stored = {"state_dict": source.state_dict(), "hyper_parameters": dict(source.hparams)}
    source.on_save_checkpoint(stored)
    model = case.make()
    with tempfile.TemporaryDirectory() as folder:
        torch.save(stored, Path(folder) / "source.ckpt")
        frozen = ["item"] if "user" in model.components() else []
        model.plan = model.plan._replace(init_from=f"{folder}/source.ckpt", frozen=frozen)
        torch.manual_seed(1)
        model.attach(case.data.spec._replace(fingerprint="another"), case.data.items)
        model.begin()
    assert model.transferred is not None
    rows = under(model.state_dict(), model.catalogue_rows())
    assert bool(rows) == model.catalogue_bound, f"catalogue_rows() covers {rows}, catalogue_bound differs."
    left = set(model.state_dict()) - rows - model.transferred.loaded
    assert not left, f"Not taken over: {sorted(left)}. Are they in components()?"
    if isinstance(model, SequentialRecommender):
        model.cache_features()
    total_loss(model.train(), case.train_batch()).backward()  # type: ignore[no-untyped-call]
    moved = [n for n, p in model.named_parameters() if p.grad is not None and not p.requires_grad]
    idle = [n for n, p in model.named_parameters() if p.grad is None and p.requires_grad]
    assert not moved, f"Frozen parameters with a gradient: {moved}."
    assert not idle, f"With items frozen, no gradient reaches {idle}: do they belong to an item component?"
    if not model.catalogue_bound:
        gap = (model.item_table() - source.item_table()).abs().max().item()
        assert gap < 1e-4, f"The same items have vectors {gap:.2e} apart after a transfer of the whole model."


CHECKS: tuple[Callable[[Case], None], ...] = (
    check_gradients,
    check_learns,
    check_padding,
    check_causal,
    check_permutation,
    check_item_table,
    check_reload,
    check_precision,
    check_cached,
    check_deterministic,
    check_unseen,
    check_transfer,
)
