"""ODMT's options: what they change, what is refused, and when the id table gets its start."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.golden import odmt as small
from tests.golden.sasrec import pad_left
from zoo.encoders.base import Encoded
from zoo.models.morec import MoRec
from zoo.models.odmt import ODMT, Init, View
from zoo.types import CatalogSpec, EvalBatch

SPEC = CatalogSpec(small.N_ITEMS, 4, {}, {}, max_len=small.MAX_LEN)
HISTORY = EvalBatch(
    torch.tensor([1, 2]),
    pad_left([[1, 2, 3], [4, 5]], small.MAX_LEN),
    torch.zeros(2, dtype=torch.int64),
    torch.zeros(2, 0, dtype=torch.int64),
)


def make(**options: Any) -> ODMT:  # noqa: ANN401
    return ODMT(**{"width": small.WIDTH, "text": small.TEXT, "image": small.IMAGE, **options})


def gradients(model: ODMT, loss: Tensor) -> list[bool]:
    """Whether the heads of the views are moved."""
    names = [f"fusion.heads.{view}.0.weight" for view in model.view_names]
    wanted = [model.get_parameter(name) for name in names]
    return [bool(grad.any()) for grad in torch.autograd.grad(loss, wanted)]


@pytest.mark.parametrize(("init", "sources"), [(1, ["text", "image"]), (2, ["image"]), (3, ["text"])])
def test_ids_start_from_class_tokens(init: Init, sources: list[str]) -> None:
    model = small.filled_model()
    model.init = init
    model.on_fit_start()
    table_ID = model.get_parameter("encoders.item_id.table.weight")
    first = []
    for modality in sources:
        given = model.encoders[modality]
        assert isinstance(given, small.Given)
        first.append(given.token_ITD[1:, 0])
    torch.testing.assert_close(table_ID[1:], torch.stack(first).mean(0))
    assert not table_ID[0].any()


def test_ids_start_once() -> None:
    model = small.filled_model()
    model.init = 1
    model.on_fit_start()
    table_ID = model.get_parameter("encoders.item_id.table.weight")
    with torch.no_grad():
        table_ID[1:] = 7.0
    model.on_fit_start()
    assert bool((table_ID[1:] == 7.0).all())


def test_ids_of_a_checkpoint_stay() -> None:
    model = make(init=1)
    model.attach(SPEC, small.Rows())
    checkpoint: dict[str, Any] = {}
    model.on_save_checkpoint(checkpoint)
    resumed = make(init=1)
    resumed.on_load_checkpoint(checkpoint)
    before = resumed.get_parameter("encoders.item_id.table.weight").clone()
    resumed.on_fit_start()
    assert torch.equal(resumed.get_parameter("encoders.item_id.table.weight"), before)


def test_id_table_has_the_width_of_its_start() -> None:
    wide = {**(small.IMAGE.config or {}), "embed_dim": 2 * small.WIDTH}
    image = {"name": small.IMAGE.name, "image_size": 16, "config": wide}
    model = make(image=image, init=2)
    model.attach(SPEC, small.Rows())
    assert model.get_parameter("encoders.item_id.table.weight").shape == (small.N_ITEMS, 2 * small.WIDTH)
    with pytest.raises(ValueError, match="their widths differ"):
        make(image=image, init=1).attach(SPEC, small.Rows())


def test_views_share_the_fused_score() -> None:
    model = small.filled_model()
    scores = {}
    views: tuple[View, ...] = ("fused", "id", "text", "image")
    with torch.no_grad():
        table_ID = model.item_table()
        for view in views:
            model.view = view
            scores[view] = model.user_vectors(HISTORY, table_ID) @ table_ID.T
    torch.testing.assert_close(scores.pop("fused"), torch.stack(list(scores.values())).mean(0))
    assert not torch.allclose(scores["id"], scores["text"])


def test_every_view_has_a_backbone_of_its_own() -> None:
    model = small.filled_model()
    state_BLD = torch.randn(2, small.MAX_LEN, 3 * small.WIDTH, dtype=torch.float64)
    real_BL = torch.ones(2, small.MAX_LEN, dtype=torch.bool)
    changed_BLD = state_BLD.clone()
    changed_BLD[..., : small.WIDTH] += 1.0
    before, after = (model.sequence(x_BLD, real_BL).chunk(3, dim=-1) for x_BLD in (state_BLD, changed_BLD))
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [False, True, True]


def test_teachers_learn_unless_detached() -> None:
    score_MPN = torch.randn(3, 4, 6, requires_grad=True)
    model = make(alpha=0.5)
    none_PN = torch.zeros(4, 6)
    (free,) = torch.autograd.grad(model.distillation(score_MPN, none_PN), score_MPN)
    model.detach_teachers = True
    detached = model.distillation(score_MPN, none_PN)
    (bound,) = torch.autograd.grad(detached, score_MPN)
    torch.testing.assert_close(model.distillation(score_MPN, none_PN), detached)
    assert not torch.allclose(free, bound)
    # A student's gradient sums to zero over its softmax, and so does a teacher's.
    torch.testing.assert_close(bound.sum(-1), torch.zeros(3, 4), atol=1e-5, rtol=0)


def test_distillation_moves_all_views() -> None:
    model = small.filled_model()
    parts = model.training_loss(small.train_batch())
    assert gradients(model, parts["kd"]) == [True, True, True]


def test_one_modality() -> None:
    model = make(image=None, init=3)
    model.attach(SPEC, small.Rows())
    model.encoders["text"] = small.Given(torch.randn(small.N_ITEMS, 3, small.WIDTH))
    parts = model.training_loss(small.train_batch())
    assert list(parts) == ["ce_id", "ce_text", "kd"]
    assert model.item_table().shape == (small.N_ITEMS, 2 * small.WIDTH)


def test_half_precision_gives_a_finite_loss() -> None:
    model = small.filled_model().float()
    for modality in ("text", "image"):
        given = model.encoders[modality]
        assert isinstance(given, small.Given)
        given.token_ITD = given.token_ITD.float()
    batch = small.train_batch()
    batch = batch._replace(log_pop_BS=batch.log_pop_BS.float())
    exact = torch.stack(list(model.training_loss(batch).values())).sum()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = model.training_loss(batch)
    loss = torch.stack(list(parts.values())).sum()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, atol=0.05, rtol=0.01)


def test_id_aware_as_a_fusion_of_another_model() -> None:
    model = MoRec(width=small.WIDTH, text=small.TEXT, image=small.IMAGE, item_id=True, fusion="id_aware")
    model.attach(SPEC, small.Rows())
    parts = {
        "text": Encoded(torch.randn(2, 8), torch.randn(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)),
        "image": Encoded(torch.randn(2, 8), torch.randn(2, 5, 8)),
        "item_id": Encoded(torch.randn(2, 8)),
    }
    assert model.uses_tokens
    assert model.fuse(parts).shape == (2, small.WIDTH)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"item_id": False}, "ODMT fuses item ids with modalities"),
        ({"text": None, "image": None}, "ODMT fuses item ids with modalities"),
        ({"loss": "bce"}, "loss must be in_batch; found bce"),
        ({"tau": 0.0}, "tau must be positive"),
        ({"alpha": -1.0}, "alpha not negative"),
        ({"text": None, "init": 3}, "starts the ids from text features"),
        ({"image": None, "view": "image"}, "none of the model's: fused, id, text"),
        ({"backbone": "bert4rec"}, "reads in both directions"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)
