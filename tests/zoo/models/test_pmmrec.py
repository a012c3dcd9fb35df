"""PMMRec's objectives: which are on, what they compute, and what degenerate batches do to them."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.collate import SequenceCollate
from datamodules.histories import TrainRows
from zoo.losses.corruption import corrupt
from zoo.models.pmmrec import PMMRec
from zoo.types import CatalogSpec, Content, SequenceBatch

WIDTH, LENGTH, N_ITEMS = 8, 10, 60
TEXT: dict[str, Any] = {
    "name": "bert",
    "tokenizer": "words",
    "max_tokens": 6,
    "pool": "mean_all",
    "config": {
        "vocab_size": 64,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "max_position_embeddings": 16,
    },
}
IMAGE: dict[str, Any] = {
    "name": "timm/vit_tiny_patch16_224",
    "image_size": 8,
    "pool": "mean_all",
    "config": {"patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2},
}


class Catalogue:
    """Random titles and covers; the last ten items have no cover."""

    n_items = N_ITEMS
    counts_I = np.ones(N_ITEMS, dtype=np.int64)

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        tokens = torch.randint(4, 64, (N_ITEMS, 6), generator=draw, dtype=torch.int32)
        tokens[:, 0], tokens[::2, 4:] = 2, -1
        pixels = torch.randint(0, 256, (N_ITEMS, 3, 8, 8), generator=draw, dtype=torch.uint8)
        present_N = torch.arange(N_ITEMS) < N_ITEMS - 10
        self.parts: dict[str, Content] = {
            "text": {"tokens": tokens, "present": torch.ones(N_ITEMS, dtype=torch.bool)},
            "image": {"pixels": pixels, "present": present_N},
        }

    def content(self, ids_N: Any, modalities: Any) -> dict[str, Content]:  # noqa: ANN401
        """Of the given rows."""
        return {m: {f: t[torch.as_tensor(ids_N)] for f, t in self.parts[m].items()} for m in modalities}

    def feature_folder(self, modality: str, key: str) -> None:
        """None."""


def built(**options: Any) -> PMMRec:  # noqa: ANN401
    torch.manual_seed(0)
    model = PMMRec(**{"width": WIDTH, "text": TEXT, "image": IMAGE, **options})
    model.attach(CatalogSpec(N_ITEMS, 9, {}, {}, max_len=LENGTH), Catalogue())
    return model


def make_batch(n_users: int = 8, length: int = LENGTH, n_items: int = N_ITEMS) -> SequenceBatch:
    items_BS = np.random.default_rng(0).integers(1, n_items, (n_users, length + 1))
    for user in range(1, n_users):
        items_BS[user, : user % length] = 0
    rows = TrainRows(np.arange(1, n_users + 1), items_BS, None)
    return SequenceCollate(Catalogue(), ("text", "image"))(rows)


@pytest.mark.parametrize(
    ("options", "parts", "heads"),
    [
        ({}, {"dap", "nicl", "nid", "rcl"}, {"noise_head"}),
        ({"nicl": "prototype"}, {"dap", "nicl", "nid", "rcl"}, {"noise_head", "pair_head"}),
        ({"objective": "finetune", "nicl": "prototype", "nicl_weight": 0.4}, {"dap"}, set()),
        ({"nicl_weight": 0.0, "nid_weight": 0.0}, {"dap", "rcl"}, set()),
        ({"nicl_weight": 0.2, "rcl_weight": 0.0, "nid_weight": 0.0}, {"dap", "nicl"}, set()),
        ({"image": None}, {"dap", "nid", "rcl"}, {"noise_head"}),
        ({"text": None}, {"dap", "nid", "rcl"}, {"noise_head"}),
        ({"text": None, "image": None, "item_id": True}, {"dap", "nid", "rcl"}, {"noise_head"}),
        ({"fusion": "sum"}, {"dap", "nicl", "nid", "rcl"}, {"noise_head"}),
    ],
)
def test_what_is_on(options: dict[str, Any], parts: set[str], heads: set[str]) -> None:
    model = built(**options)
    losses = model.training_loss(make_batch())
    assert set(losses) == parts
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    assert {name for name, _ in model.named_children() if name.endswith("_head")} == heads
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle


def test_a_single_modality_makes_no_fusion_and_is_the_mean_of_its_tokens() -> None:
    model, both = built(image=None).eval(), built().eval()
    assert not hasattr(model, "fusion")
    batch = make_batch()
    both.encoders["text"].load_state_dict(model.encoders["text"].state_dict())
    both.heads["text"].load_state_dict(model.heads["text"].state_dict())
    item_ND = model.encode_items(batch.unique_N, batch.content)[1:]
    part = both.project(both.encode_parts(batch.unique_N, batch.content))["text"]
    torch.testing.assert_close(item_ND, part.pooled_ND, atol=1e-5, rtol=1e-4)


def test_weights() -> None:
    batch = make_batch()
    tuned = built(objective="finetune").eval().training_loss(batch)
    torch.manual_seed(1)
    ones = built().eval()
    torch.manual_seed(1)
    base = ones.training_loss(batch)
    weighted = built(nicl_weight=0.1, nid_weight=3.0, rcl_weight=0.5).eval()
    torch.manual_seed(1)
    other = weighted.training_loss(batch)
    torch.testing.assert_close(base["dap"], 0.6 * tuned["dap"])
    torch.testing.assert_close(other["dap"], 0.9 * tuned["dap"])
    for name, factor in (("nicl", 0.25), ("nid", 3.0), ("rcl", 0.5)):
        torch.testing.assert_close(other[name], factor * base[name])


def test_noise_objectives_are_their_definition() -> None:
    model, batch = built().eval(), make_batch()
    real_BL = batch.items_BS[:, :-1] != 0
    with torch.no_grad():
        item_ND = model.encode_items(batch.unique_N, batch.content)
        torch.manual_seed(1)
        noised = corrupt(batch.slots_BS, len(item_ND), 0.15, 0.05)
        clean_BLD = model.sequence(item_ND[batch.slots_BS[:, :-1]], real_BL)
        noised_BLD = model.sequence(item_ND[noised.slots_BS[:, :-1]], real_BL)
        torch.manual_seed(1)
        found = model.training_loss(batch)
    assert noised.label_BL.any()
    nid = F.cross_entropy(model.noise_head(noised_BLD[real_BL]), noised.label_BL[real_BL])
    torch.testing.assert_close(found["nid"], nid)
    users = [
        torch.stack([rows[real].mean(0) for rows, real in zip(states, real_BL, strict=True)])
        for states in (clean_BLD, noised_BLD)
    ]
    logit_BB = F.cosine_similarity(users[0][:, None], users[1][None], dim=-1) / 0.1
    own_B = torch.arange(len(logit_BB))
    rcl = (F.cross_entropy(logit_BB, own_B) + F.cross_entropy(logit_BB.T, own_B)) / 2
    torch.testing.assert_close(found["rcl"], rcl)


def test_no_second_encoder_pass() -> None:
    model, calls = built(), []
    for modality in ("text", "image"):
        model.encoders[modality].register_forward_hook(lambda *_: calls.append(1))
    model.training_loss(make_batch())
    assert len(calls) == 2


def test_noise_objectives_reach_the_towers() -> None:
    model = built(rcl_weight=0.0)
    model.training_loss(make_batch())["nid"].backward()  # type: ignore[no-untyped-call]
    for modality in ("text", "image"):
        gradients = [p.grad for p in model.encoders[modality].parameters() if p.grad is not None]
        assert any(bool(gradient.any()) for gradient in gradients)


@pytest.mark.parametrize("nicl", ["published", "prototype"])
def test_items_without_a_cover_take_no_part_in_nicl(nicl: str) -> None:
    model, batch = built(nicl=nicl).eval(), make_batch()
    parts = model.project(model.encode_parts(batch.unique_N, batch.content))
    loss = model.nicl_loss(parts, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    stand_in = model.stand_ins["image"].grad
    assert stand_in is None or not stand_in.any()
    model.stand_ins["image"].data += 100
    moved = model.project(model.encode_parts(batch.unique_N, batch.content))
    torch.testing.assert_close(model.nicl_loss(moved, batch), loss)


def test_the_published_form_compares_class_tokens() -> None:
    batch = make_batch()
    for nicl, fusion, pool in (("published", "merge_attn", 0), ("prototype", "merge_attn", None)):
        model = built(nicl=nicl, fusion=fusion).eval()
        part = model.project(model.encode_parts(batch.unique_N, batch.content))["text"]
        assert part.tokens_NTD is not None
        expected = part.pooled_ND if pool is None else part.tokens_NTD[:, pool]
        assert torch.equal(model.view("text", part), expected)


@pytest.mark.parametrize("nicl", ["published", "prototype"])
@pytest.mark.parametrize("length", [1, LENGTH])
def test_a_batch_of_one_user(nicl: str, length: int) -> None:
    model = built(nicl=nicl)
    losses = model.training_loss(make_batch(1, length))
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["rcl"].item() == pytest.approx(0, abs=1e-6)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_users_without_an_input_are_left_out() -> None:
    batch = make_batch()
    items_BS = batch.items_BS.numpy().copy()
    items_BS[3, :-1] = 0
    rows = TrainRows(np.arange(1, 9), items_BS, None)
    losses = built().training_loss(SequenceCollate(Catalogue(), ("text", "image"))(rows))
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_a_batch_without_a_label_has_a_loss_of_zero() -> None:
    model = built()
    rows = TrainRows(np.arange(1, 3), np.array([[0, 4], [0, 5]]), None)
    losses = model.training_loss(SequenceCollate(Catalogue(), ("text", "image"))(rows))
    loss = torch.stack(list(losses.values())).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    trained: list[Tensor | None] = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(gradient is not None and not gradient.any() for gradient in trained)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image": None, "nicl_weight": 0.4},
            "NICL compares titles with covers, but the model has text only",
        ),
        ({"nicl_weight": 1.0}, "nicl_weight is at least 0 and below 1; found 1.0"),
        ({"nid_weight": -1.0}, "nid_weight must not be negative; found -1.0"),
        ({"rcl_temperature": 0.0}, "rcl_temperature must be positive; found 0.0"),
        ({"shuffle_ratio": 0.8, "replace_ratio": 0.3}, r"at most 1 together; found 0\.8 and 0\.3"),
        ({"backbone": "bert4rec", "loss": "bce"}, "backbone: bert4rec"),
        ({"fusion": "merge"}, "There is no fusion named 'merge'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PMMRec(**{"width": WIDTH, "text": TEXT, "image": IMAGE, **options})
