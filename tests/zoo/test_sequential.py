"""What the sequential base makes of its options, before and after the data is known."""

from typing import Any

import pytest
import torch

from datamodules.collate import SequenceCollate
from datamodules.histories import TrainRows
from tests.golden import sasrec as golden
from tests.golden.test_morec_model import NEGATIVES_BL, TRAIN_BS, Ids
from tests.golden.test_ninerec_golden import masked_batch
from zoo.losses.sampled import calibrated_power
from zoo.models.morec import MoRec
from zoo.sequence.base import is_masked
from zoo.types import CatalogSpec, EvalBatch, Negatives


def make(**options: Any) -> MoRec:  # noqa: ANN401
    torch.manual_seed(0)
    model = MoRec(width=golden.WIDTH, item_id=True, **options)
    model.attach(CatalogSpec(golden.N_ITEMS, 4, {}, {}, max_len=golden.MAX_LEN), Ids())
    return model.eval()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "gru"}, "no backbone named 'gru'.*Known: sasrec"),
        ({"backbone": "gru4rec", "backbone_args": {"pad": "skip"}}, "'gru4rec' has no option 'pad'"),
        ({"backbone": "bert4rec", "loss": "last_bce"}, "guesses hidden items.*loss: last_bce does not fit"),
        ({"gbce_t": 1.5}, "gbce_t is between 0 and 1; found 1.5"),
    ],
)
def test_what_does_not_fit_is_refused_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MoRec(item_id=True, **options)


@pytest.mark.parametrize(
    ("backbone", "loss", "negatives"),
    [
        ("gru4rec", "in_batch", "none"),
        ("nextitnet", "full", "none"),
        ("gru4rec", "gbce", "positions"),
        ("sasrec", "last_bce", "positions"),
        ("bert4rec", "gbce", "slots"),
        ("bert4rec", "in_batch", "none"),
    ],
)
def test_asks_for_the_negatives_that_the_loss_reads(backbone: str, loss: str, negatives: Negatives) -> None:
    assert MoRec(item_id=True, backbone=backbone, loss=loss).needs().negatives == negatives


def test_gbce_of_few_items_is_between_its_ends() -> None:
    """With t = 0 it is BCE; its power counts one negative out of the eight other items."""
    batch = SequenceCollate(Ids(), ())(TrainRows(TRAIN_BS[:, 0], TRAIN_BS, NEGATIVES_BL))

    def loss(**options: Any) -> float:  # noqa: ANN401
        (value,) = make(**options).training_loss(batch).values()
        return value.item()

    assert loss(loss="gbce", gbce_t=0.0) == loss(loss="bce")
    assert calibrated_power(1.0, 1 / 8) == make(loss="gbce", gbce_t=1.0)._beta()
    assert loss(loss="gbce", gbce_t=1.0) < loss(loss="gbce") < loss(loss="bce")


@pytest.mark.parametrize("loss", ["in_batch", "bce", "bpr", "gbce", "full"])
def test_hidden_items_are_guessed_with_every_loss_that_can(loss: Any) -> None:  # noqa: ANN401
    model, (batch, _) = make(backbone="bert4rec", loss=loss), masked_batch()
    (value,) = model.training_loss(batch).values()
    value.backward()  # type: ignore[no-untyped-call]
    assert value > 0
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert idle == []


def test_next_items_are_not_compared_with_what_has_seen_them() -> None:
    model, (batch, _) = make(backbone="bert4rec", loss="bce"), masked_batch()
    item_ND = model.encode_items(batch.unique_N, batch.content)
    with pytest.raises(ValueError, match="'bert4rec' reads in both directions"):
        model.user_states(item_ND, batch)


@torch.no_grad()
def test_the_user_vector_of_a_masked_backbone_is_at_an_appended_mask() -> None:
    model = make(backbone="bert4rec", loss="bce")
    history_BL = golden.pad_left([ids[:-2] for ids in golden.SEQUENCES.values()], golden.MAX_LEN)
    zero_B = torch.zeros(3, dtype=torch.long)
    table_ID = model.item_table()
    user_BD = model.user_vectors(EvalBatch(zero_B, history_BL, zero_B, history_BL), table_ID)
    assert is_masked(model.sequence)
    expected_BD = model.sequence.next_state(table_ID[history_BL], history_BL != 0)
    torch.testing.assert_close(user_BD, expected_BD, atol=0, rtol=0)


@pytest.mark.parametrize("backbone", ["sasrec", "gru4rec"])
@pytest.mark.parametrize("loss", ["in_batch", "bce", "last_bce", "bpr", "gbce", "full"])
def test_a_loss_at_real_positions_is_that_of_all(backbone: str, loss: Any) -> None:  # noqa: ANN401
    batch = SequenceCollate(Ids(), ())(TrainRows(TRAIN_BS[:, 0], TRAIN_BS, NEGATIVES_BL))
    model = make(backbone=backbone, loss=loss)
    (value,) = model.training_loss(batch).values()
    if loss == "full":
        batch = batch._replace(unique_N=torch.arange(golden.N_ITEMS), slots_BS=batch.items_BS)
    item_ND = model.encode_items(batch.unique_N, batch.content)
    padded = model.next_item_loss(model.user_states(item_ND, batch), item_ND, batch)
    torch.testing.assert_close(value, padded, atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_user_vectors_are_the_last_states_even_of_empty_histories() -> None:
    model = make(backbone="sasrec")
    history_BL = golden.pad_left([[3, 1, 2], [], [5]], golden.MAX_LEN)
    zero_B = torch.zeros(3, dtype=torch.long)
    table_ID = model.item_table()
    found_BD = model.user_vectors(EvalBatch(zero_B, history_BL, zero_B, history_BL[:, :0]), table_ID)
    expected_BD = model.sequence(table_ID[history_BL], history_BL != 0)[:, -1]
    torch.testing.assert_close(found_BD, expected_BD, atol=1e-6, rtol=1e-6)
