"""The authors' values of MoRec and IDRec through the whole model: batches, backbone, losses, ranks."""

from typing import Literal

import numpy as np
import pytest
import torch

from datamodules.collate import SequenceCollate
from datamodules.histories import TrainRows
from tests.golden import sasrec as golden
from zoo.metrics.ranking import target_rank
from zoo.models.morec import MoRec
from zoo.types import CatalogSpec, Content, EvalBatch

TRAIN_BS = golden.pad_left([ids[:-2] for ids in golden.SEQUENCES.values()], golden.MAX_LEN + 1).numpy()
NEGATIVES_BL = golden.pad_left(golden.NEGATIVES.values(), golden.MAX_LEN).numpy()


class Ids:
    """A catalogue of ids alone."""

    n_items = golden.N_ITEMS
    counts_I = np.bincount(TRAIN_BS.ravel(), minlength=golden.N_ITEMS) * (np.arange(golden.N_ITEMS) > 0)

    def feature_folder(self, modality: str, key: str) -> None:
        """No features."""

    def content(self, ids_N: object, modalities: object) -> dict[str, Content]:
        """None."""
        return {}


def filled_model(loss: Literal["in_batch", "bce", "last_bce"]) -> MoRec:
    """IDRec with the specification's parameters, in evaluation mode."""
    model = MoRec(width=golden.WIDTH, n_blocks=2, n_heads=golden.N_HEADS, item_id=True, loss=loss)
    model.attach(CatalogSpec(golden.N_ITEMS, 4, {}, {}, max_len=golden.MAX_LEN), Ids())
    filled = golden.fill(golden.id_model_shapes())
    state = {f"sequence.{name}": tensor for name, tensor in golden.sasrec_state(filled).items()}
    state["encoders.item_id.table.weight"] = filled["id_embedding.weight"]
    model.load_state_dict(state)
    return model.eval()


@pytest.mark.parametrize(
    ("loss", "expected"), [("bce", 1.412969), ("in_batch", 2.096161), ("last_bce", 1.429748)]
)
def test_training_loss(loss: Literal["in_batch", "bce", "last_bce"], expected: float) -> None:
    rows = TrainRows(np.arange(1, 4), TRAIN_BS, None if loss == "in_batch" else NEGATIVES_BL)
    batch = SequenceCollate(Ids(), ())(rows)
    (value,) = filled_model(loss).training_loss(batch).values()
    assert value.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("held_out", "ranks", "scores"),
    [(2, [1, 3, 4], [0.526835, 0.089119, -0.175960]), (1, [3, 4, 2], [-0.297289, -0.423836, -0.145431])],
)
def test_ranks(held_out: int, ranks: list[int], scores: list[float]) -> None:
    users = list(golden.SEQUENCES.values())
    batch = EvalBatch(
        user_B=torch.arange(1, 4),
        history_BL=golden.pad_left([ids[:-held_out] for ids in users], golden.MAX_LEN),
        target_B=torch.tensor([ids[-held_out] for ids in users]),
        hidden_BH=golden.pad_left([ids[:-held_out] for ids in users], golden.MAX_LEN + 2),
    )
    model = filled_model("bce")
    with torch.no_grad():
        table_ID = model.item_table()
        # The authors' padding row is not zero; no score depends on it.
        user_BD = model.user_vectors(batch, table_ID)
    rank_B, repeat_B = target_rank(user_BD, table_ID, batch.target_B, batch.hidden_BH)
    assert rank_B.tolist() == repeat_B.tolist() == ranks
    assert (user_BD * table_ID[batch.target_B]).sum(1).tolist() == pytest.approx(scores, abs=1e-6)
