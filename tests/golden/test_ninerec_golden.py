"""Values the authors' modules gave for NineRec's backbones, through the parts and through the whole model.

The values of its SASRec are those of MoRec's: see ``test_morec_golden.py``.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datamodules.collate import SequenceCollate
from datamodules.histories import TrainRows
from tests.golden import ninerec
from tests.golden import sasrec as golden
from tests.golden.test_morec_model import NEGATIVES_BL, TRAIN_BS, Ids
from zoo.losses.masked import masked_loss
from zoo.losses.rows import target_slots
from zoo.losses.sampled import bce
from zoo.models.morec import MoRec
from zoo.sequence.base import is_masked
from zoo.sequence.bert4rec import BERT4Rec
from zoo.types import CatalogSpec, SequenceBatch

CAUSAL = pytest.mark.parametrize(
    ("name", "filled", "expected"),
    [("nextitnet", ninerec.filled_nextitnet, 1.460403), ("gru4rec", ninerec.filled_gru, 1.385928)],
)
Filled = Callable[[], tuple[nn.Module, Tensor]]


@pytest.mark.parametrize("trimmed", [False, True])
@CAUSAL
def test_parts(name: str, filled: Filled, expected: float, trimmed: bool) -> None:
    """A batch longer than all its histories gives the same as the trimmed one."""
    backbone, table_ID = filled()
    items_BS, negatives_BL = torch.from_numpy(TRAIN_BS), torch.from_numpy(NEGATIVES_BL)
    users = slice(1, 3) if trimmed else slice(None)
    first = 1 if trimmed else 0
    items_BS, negatives_BL = items_BS[users, first:], negatives_BL[users, first:]
    positions_P = items_BS[:, :-1].flatten().nonzero()[:, 0]
    with torch.no_grad():
        user_BLD = backbone(table_ID[items_BS[:, :-1]], items_BS[:, :-1] != 0)
        whole_BLD = backbone(table_ID[TRAIN_BS[:, :-1]], torch.from_numpy(TRAIN_BS[:, :-1] != 0))
    torch.testing.assert_close(user_BLD, whole_BLD[users, first:], atol=1e-6, rtol=0)
    if not trimmed:
        target_P = target_slots(items_BS, positions_P)
        user_PD = user_BLD.flatten(0, 1)[positions_P]
        loss = bce(user_PD, table_ID[target_P], table_ID[negatives_BL.flatten()[positions_P]])
        assert loss.item() == pytest.approx(expected, abs=1e-6)


@CAUSAL
def test_whole_model(name: str, filled: Filled, expected: float) -> None:
    backbone, table_ID = filled()
    model = MoRec(
        width=golden.WIDTH, item_id=True, loss="bce", backbone=name, backbone_args={"padding": "vector"}
    )
    model.attach(CatalogSpec(golden.N_ITEMS, 4, {}, {}, max_len=golden.MAX_LEN), Ids())
    state = {f"sequence.{key}": tensor for key, tensor in backbone.state_dict().items()}
    model.load_state_dict(state | {"encoders.item_id.table.weight": table_ID})
    batch = SequenceCollate(Ids(), ())(TrainRows(np.arange(1, 4), TRAIN_BS, NEGATIVES_BL))
    (loss,) = model.eval().training_loss(batch).values()
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def masked_batch() -> tuple[SequenceBatch, Tensor]:
    """The three users' training items with a negative a slot, and which of them are hidden."""
    items_BS = np.array(ninerec.MASKED_INPUTS)
    negatives_BS = np.where(items_BS != 0, 1, 0)
    for slot, (target, negative) in ninerec.MASKED_TARGETS.items():
        assert items_BS[slot] == ninerec.MASK_ID
        items_BS[slot], negatives_BS[slot] = target, negative
    np.testing.assert_array_equal(items_BS, TRAIN_BS)
    batch = SequenceCollate(Ids(), ())(TrainRows(np.arange(1, 4), items_BS, negatives_BS))
    return batch, torch.tensor(ninerec.MASKED_INPUTS) == ninerec.MASK_ID


def test_bert4rec_parts() -> None:
    filled = golden.fill(ninerec.bert4rec_shapes())
    backbone = BERT4Rec(golden.WIDTH, golden.MAX_LEN).eval()
    backbone.load_state_dict(ninerec.bert4rec_state(filled))
    table_ID, (batch, hidden_BS) = filled["id_embedding.weight"], masked_batch()
    item_ND = table_ID[batch.unique_N]
    with torch.no_grad():
        input_BSD = backbone.hide(item_ND[batch.slots_BS], hidden_BS)
        torch.testing.assert_close(input_BSD, table_ID[torch.tensor(ninerec.MASKED_INPUTS)], atol=0, rtol=0)
        user_BSD = backbone(input_BSD, batch.items_BS != 0)
        loss = masked_loss("bce", user_BSD, item_ND, batch, hidden_BS)
    assert loss.item() == pytest.approx(1.360607, abs=1e-6)


def test_bert4rec_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MoRec(width=golden.WIDTH, item_id=True, loss="bce", backbone="bert4rec")
    assert model.needs().negatives == "slots"
    model.attach(CatalogSpec(golden.N_ITEMS, 4, {}, {}, max_len=golden.MAX_LEN), Ids())
    filled = golden.fill(ninerec.bert4rec_shapes())
    state = {f"sequence.{key}": tensor for key, tensor in ninerec.bert4rec_state(filled).items()}
    state["encoders.item_id.table.weight"] = filled["id_embedding.weight"][: golden.N_ITEMS]
    model.load_state_dict(state)
    batch, hidden_BS = masked_batch()
    assert is_masked(model.sequence)
    monkeypatch.setattr(model.sequence, "draw", lambda real_BS: hidden_BS)
    (loss,) = model.eval().training_loss(batch).values()
    assert loss.item() == pytest.approx(1.360607, abs=1e-6)
