"""PMMRec from the authors' definitions: DAP through the whole model, and the prototype of NICL."""

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.collate import SequenceCollate
from datamodules.histories import TrainRows
from tests.golden.filling import filled, waves
from zoo.losses.nicl import PrototypeHead, prototype_nce
from zoo.models.pmmrec import PMMRec
from zoo.types import CatalogSpec, Content

WIDTH, LENGTH = 4, 3
POPULARITY_I = torch.tensor([1.0, 0.3, 0.2, 0.1, 0.1, 0.2, 0.1])
ITEMS_BS = np.array([[0, 1, 2, 3], [4, 5, 2, 5]])


class Ids:
    """A catalogue of ids alone."""

    n_items = 7
    counts_I = np.bincount(ITEMS_BS.ravel(), minlength=7)

    def content(self, ids_N: object, modalities: object) -> dict[str, Content]:
        """None."""
        return {}

    def feature_folder(self, modality: str, key: str) -> None:
        """None."""


def user_encoder_state() -> dict[str, Tensor]:
    """The 27 tensors of the authors' user encoder under our names; ours packs query, key and value."""
    norm = [(WIDTH,), (WIDTH,)]
    block = [
        *[(WIDTH, WIDTH)] * 4,
        *norm,
        (4 * WIDTH, WIDTH),
        (4 * WIDTH,),
        (WIDTH, 4 * WIDTH),
        (WIDTH,),
        *norm,
    ]
    values = iter(filled([(LENGTH, WIDTH), *norm, *block, *block], norms=[1, 7, 13, 19, 25]))
    state = {"position_LD": next(values), "norm.weight": next(values), "norm.bias": next(values)}
    for k in range(2):
        state[f"blocks.{k}.query_key_value.weight"] = torch.cat([next(values) for _ in range(3)])
        state[f"blocks.{k}.output.weight"] = next(values)
        for layer in ("attention_norm", "feed_in", "feed_out", "feed_norm"):
            for part in ("weight", "bias"):
                state[f"blocks.{k}.{layer}.{part}"] = next(values)
    return {f"sequence.{name}": value.float() for name, value in state.items()}


@pytest.mark.parametrize("objective", ["pretrain", "finetune"])
def test_dap_of_item_ids(objective: str) -> None:
    model = PMMRec(width=WIDTH, item_id=True, objective=objective)  # type: ignore[arg-type]
    model.attach(CatalogSpec(7, 3, {}, {}, max_len=LENGTH), Ids())
    state = user_encoder_state() | {"encoders.item_id.table.weight": waves((7, WIDTH), 0.2, 0.41).float()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert missing == (["noise_head.weight", "noise_head.bias"] if objective == "pretrain" else [])
    batch = SequenceCollate(Ids(), ())(TrainRows(np.arange(1, 3), ITEMS_BS, None))
    batch = batch._replace(log_pop_BS=POPULARITY_I[batch.items_BS].log())
    parts = model.eval().training_loss(batch)
    assert parts["dap"].item() == pytest.approx(1.4754211, abs=1e-6)


def prototype_head() -> PrototypeHead:
    """The authors' head: batch norm first in their order, then the two linear layers."""
    head = PrototypeHead(WIDTH).double()
    shapes = [(4,), (4,), (8, 4), (8,), (4, 8), (4,)]
    parameters = [
        head.norm.weight,
        head.norm.bias,
        head.linear1.weight,
        head.linear1.bias,
        head.linear2.weight,
        head.linear2.bias,
    ]
    for parameter, value in zip(parameters, filled(shapes, norms=[0]), strict=True):
        parameter.data.copy_(value)
    return head.train()


def prototype_loss(n_rows: int, rows_P: Tensor, item_P: list[int], user_P: list[int]) -> float:
    """NICL's prototype on some of the rows of the specification's inputs."""
    head = prototype_head()
    text_PD, image_PD = waves((n_rows, WIDTH))[rows_P], waves((n_rows, WIDTH), 1.3, 0.23)[rows_P]
    loss = prototype_nce(head(text_PD), head(image_PD), torch.tensor(item_P), torch.tensor(user_P), 0.1)
    return loss.item()


def test_nicl_prototype() -> None:
    assert prototype_loss(4, torch.arange(3), [1, 2, 1], [0, 0, 0]) == pytest.approx(1.6510126, abs=1e-6)


def test_nicl_prototype_on_drifted_rows() -> None:
    """What the authors' code computes: rows of (B, S) picked by the flattened mask of (B, L).

    From the second user on, rows are one too early for each user before: padding could enter, and row 3 of
    the first user counts as the second's.
    """
    mask_BL = torch.tensor([[0, 1, 1], [1, 1, 1]])
    drifted_P = mask_BL.flatten().nonzero()[:, 0]
    assert drifted_P.tolist() == [1, 2, 3, 4, 5]
    item_P = torch.tensor([[0, 1, 2, 3], [4, 5, 2, 6]]).flatten()[drifted_P]
    user_P = mask_BL.nonzero()[:, 0]
    loss = prototype_loss(8, drifted_P, item_P.tolist(), user_P.tolist())
    assert loss == pytest.approx(2.7180468, abs=1e-6)
