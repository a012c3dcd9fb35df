"""Values the authors' modules gave for SASRec in MoRec and NineRec, reached through the parts directly."""

import pytest
import torch
from torch import Tensor

from tests.golden import sasrec as golden
from zoo.losses.in_batch import in_batch_ce
from zoo.losses.rows import target_slots
from zoo.losses.sampled import bce
from zoo.metrics.ranking import target_rank
from zoo.sequence.sasrec import SASRec

TRAIN_BS = golden.pad_left([ids[:-2] for ids in golden.SEQUENCES.values()], golden.MAX_LEN + 1)
NEGATIVES_BL = golden.pad_left(golden.NEGATIVES.values(), golden.MAX_LEN)
POSITIONS_P = (TRAIN_BS[:, :-1] != 0).flatten().nonzero()[:, 0]


@pytest.fixture(scope="module")
def parts() -> tuple[SASRec, Tensor]:
    """The filled user encoder in evaluation mode, and the filled item table."""
    shapes = golden.id_model_shapes()
    assert len(shapes) == 28
    filled = golden.fill(shapes)
    backbone = SASRec(golden.WIDTH, golden.MAX_LEN, golden.N_LAYERS, golden.N_HEADS).eval()
    backbone.load_state_dict(golden.sasrec_state(filled))
    return backbone, filled["id_embedding.weight"]


def states(parts: tuple[SASRec, Tensor], ids_BL: Tensor) -> Tensor:
    backbone, table_ID = parts
    with torch.no_grad():
        output_BLD: Tensor = backbone(table_ID[ids_BL], ids_BL != 0)
    return output_BLD


def training_rows(parts: tuple[SASRec, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """User states, positives and negatives at the real positions."""
    table_ID = parts[1]
    user_PD = states(parts, TRAIN_BS[:, :-1]).flatten(0, 1)[POSITIONS_P]
    return (
        user_PD,
        table_ID[target_slots(TRAIN_BS, POSITIONS_P)],
        table_ID[NEGATIVES_BL.flatten()[POSITIONS_P]],
    )


def test_bce(parts: tuple[SASRec, Tensor]) -> None:
    assert bce(*training_rows(parts)).item() == pytest.approx(1.412969, abs=1e-6)


def test_sequence_to_one(parts: tuple[SASRec, Tensor]) -> None:
    last = (POSITIONS_P % golden.MAX_LEN) == golden.MAX_LEN - 1
    user_PD, positive_PD, negative_PD = training_rows(parts)
    assert bce(user_PD[last], positive_PD[last], negative_PD[last]).item() == pytest.approx(
        1.429748, abs=1e-6
    )


@pytest.mark.parametrize(("popularity", "expected"), [(True, 2.096161), (False, 2.035844)])
def test_in_batch_ce(parts: tuple[SASRec, Tensor], popularity: bool, expected: float) -> None:
    unique_N, slots_BS = torch.unique(TRAIN_BS, return_inverse=True)
    counts_I = TRAIN_BS.flatten().bincount().float()
    counts_I[0] = 0
    log_pop_BS = (counts_I / counts_I.sum()).log()[TRAIN_BS].masked_fill(TRAIN_BS == 0, 0)
    if not popularity:
        log_pop_BS = torch.zeros_like(log_pop_BS)
    user_PD = training_rows(parts)[0]
    loss = in_batch_ce(user_PD, parts[1][unique_N], slots_BS, POSITIONS_P, log_pop_BS)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (0, [1.469441, -0.407490, 0.192914, -1.758985, -0.489104, -0.904138, 0.428664, 1.424145]),
        (1, [0.702042, -0.718286, -0.227372, -1.878961, 0.120616, -0.612421, 1.448883, 1.374841]),
    ],
)
def test_user_vectors(parts: tuple[SASRec, Tensor], user: int, expected: list[float]) -> None:
    user_D = states(parts, TRAIN_BS[:, :-1])[user, -1]
    torch.testing.assert_close(user_D, torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("held_out", "ranks", "scores"),
    [
        (2, [1, 3, 4], [0.526835, 0.089119, -0.175960]),
        (1, [3, 4, 2], [-0.297289, -0.423836, -0.145431]),
    ],
)
def test_ranks(parts: tuple[SASRec, Tensor], held_out: int, ranks: list[int], scores: list[float]) -> None:
    seen = [ids[:-held_out] for ids in golden.SEQUENCES.values()]
    target_B = torch.tensor([ids[-held_out] for ids in golden.SEQUENCES.values()])
    user_BD = states(parts, golden.pad_left(seen, golden.MAX_LEN))[:, -1]
    rank_B, _ = target_rank(user_BD, parts[1], target_B, golden.pad_left(seen, golden.MAX_LEN + 2))
    assert rank_B.tolist() == ranks
    score_B = (user_BD * parts[1][target_B]).sum(-1)
    torch.testing.assert_close(score_B, torch.tensor(scores), atol=1e-6, rtol=0)
