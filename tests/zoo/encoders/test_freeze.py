"""Which parameters are trained."""

import pytest
import torch

from tests.zoo.encoders.towers import TOWERS, build, content
from zoo.encoders.freeze import freeze
from zoo.encoders.item_id import ItemId


@pytest.mark.parametrize("name", list(TOWERS))
def test_blocks_are_apart_and_come_in_order(name: str) -> None:
    encoder = build(name)
    blocks = encoder.blocks()
    names = [n for n, _ in encoder.named_parameters()]
    covered = [{n for n in names if n.startswith(tuple(block))} for block in blocks]
    assert all(covered), "every block holds parameters"
    assert sum(map(len, covered)) == len(set().union(*covered)), "no parameter is in two blocks"
    assert any(word in n for n in covered[0] for word in ("embed", "stem", "conv1", "wte", "shared"))


def test_the_top_blocks_are_trained() -> None:
    encoder = build("bert")
    freeze(encoder, 1)
    trained = {n.split(".layer.")[-1][0] for n, p in encoder.named_parameters() if p.requires_grad}
    assert trained == {"1"}
    with pytest.raises(ValueError, match=r"this tower has 2 blocks. Give 0 to 2"):
        freeze(encoder, 3)


def test_the_final_norm_is_trained_with_any_block() -> None:
    encoder = build("vit")
    freeze(encoder, 1)
    top = tuple(encoder.blocks()[-1])
    trained = [n for n, p in encoder.named_parameters() if p.requires_grad and not n.startswith(top)]
    assert [name.rsplit(".", 2)[-2:] for name in trained] == [["layernorm", "weight"], ["layernorm", "bias"]]


def test_unread_parts_are_frozen() -> None:
    encoder = build("dinov2")
    freeze(encoder, "all")
    assert [n for n, p in encoder.named_parameters() if not p.requires_grad] == [
        "network.embeddings.mask_token"
    ]
    raw = build("clip_vision_model", pool="cls")
    freeze(raw, "all")
    frozen = [n for n, p in raw.named_parameters() if not p.requires_grad]
    assert len(frozen) == 2
    assert all("post_layernorm" in name for name in frozen)


def test_a_frozen_tower_stays_in_evaluation() -> None:
    encoder = build("bert")
    freeze(encoder, "none")
    items = content(encoder)
    still = encoder(items).pooled_ND
    encoder.train()
    torch.testing.assert_close(encoder(items).pooled_ND, still, atol=0, rtol=0)


def test_frozen_statistics_do_not_drift() -> None:
    encoder = build("timm/resnet18")
    freeze(encoder, 1)
    encoder.train()
    before = {k: v.clone() for k, v in encoder.state_dict().items() if "running_mean" in k}
    encoder(content(encoder))
    drifted = {k for k, v in encoder.state_dict().items() if k in before and not torch.equal(v, before[k])}
    assert drifted
    assert all(".layer4." in name for name in drifted)


def test_the_padding_row_of_ids_is_zero_and_stays_so() -> None:
    torch.manual_seed(0)
    ids = ItemId(400, 30)
    assert ids.table.weight[0].abs().sum() == 0
    assert ids.table.weight[1:].std().item() == pytest.approx((2 / 430) ** 0.5, rel=0.05)
    optimizer = torch.optim.AdamW(ids.parameters(), lr=0.1, weight_decay=0.1)
    ids(torch.tensor([0, 1, 5])).sum().backward()
    optimizer.step()
    assert ids.table.weight[0].abs().sum() == 0
    with pytest.raises(ValueError, match="n_items=1"):
        ItemId(1, 4)
