"""Which parameters are trained."""

from typing import Any

import pytest
import torch

from tests.zoo.encoders.towers import CLIP, TEXT, TOWERS, VISION, build, content, tower
from zoo.encoders.base import EncoderSpec
from zoo.encoders.freeze import freeze
from zoo.encoders.item_id import ItemId
from zoo.encoders.tower import Tower


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


def kept_bytes(encoder: Tower) -> int:
    """What a forward pass in training keeps for the backward one, parameters aside."""
    own = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = encoder.train()(content(encoder))
    del output
    return sum(kept.values())


@pytest.mark.parametrize("name", ["bert", "gpt2", "vit", "timm/vit_tiny_patch16_224", "videomae", "whisper"])
def test_frozen_lower_blocks_keep_no_activations(name: str) -> None:
    kept = {}
    for tune in ("all", 1, "none"):
        encoder = build(name)
        freeze(encoder, tune)
        kept[tune] = kept_bytes(encoder)
    assert kept["none"] == 0
    assert kept[1] < 0.7 * kept["all"], "one of two blocks, and no embedding"


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


def trained(encoder: Tower, tokens: bool) -> list[str]:
    """Names of what ``legacy_bottom`` leaves trainable."""
    freeze(encoder, "legacy_bottom", tokens=tokens)
    return [name.removeprefix("network.") for name, p in encoder.named_parameters() if p.requires_grad]


def test_legacy_bottom_trains_ten_of_twelve_roberta_layers() -> None:
    """Embeddings and layers 0-9, as MMSR's inequality has it for a tower of the base size."""
    encoder = build("roberta", config=TEXT["roberta"] | {"num_hidden_layers": 12})
    names = [name.removeprefix("network.") for name, _ in encoder.named_parameters()]
    found = trained(encoder, tokens=True)
    assert len(names) == 197  # 199 with the pooler, which comes last and is not built
    assert found == names[:165]
    assert found[-1] == "encoder.layer.9.output.LayerNorm.bias"
    assert names[165].startswith("encoder.layer.10.attention")


def test_legacy_bottom_stops_within_the_eleventh_mae_layer() -> None:
    """Up to layer 10's query weight; the table of positions is constant."""
    encoder = build("vit_mae", config=VISION["vit_mae"] | {"num_hidden_layers": 12})
    names = [name.removeprefix("network.") for name, _ in encoder.named_parameters()]
    assert len(names) == 198
    found = trained(encoder, tokens=True)
    assert found == [name for name in names[:165] if "position" not in name]
    assert found[-1] == "layers.10.attention.q_proj.weight"


THIN: dict[str, Any] = {"channels": [4, 4, 8, 8]}


def test_legacy_bottom_trains_a_small_resnet_whole() -> None:
    small = tower("image", EncoderSpec("timm/resnet50", config=THIN, image_size=32))
    assert len(trained(small, tokens=False)) == len(list(small.parameters())) == 159
    large = tower("image", EncoderSpec("timm/resnet101", config=THIN, image_size=32))
    names = [name.removeprefix("network.") for name, _ in large.named_parameters()]
    assert len(names) == 312
    assert trained(large, tokens=False) == names[:165]


def test_tokens_that_are_not_there_are_not_trained_for() -> None:
    vision = {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": 32}
    encoder = tower("image", EncoderSpec("open_clip/timm", config=CLIP | {"vision_cfg": vision}))
    assert encoder.token_width == 0
    freeze(encoder, "all")
    with pytest.raises(ValueError, match="'open_clip/timm' gives one pooled vector an item and no tokens"):
        freeze(encoder, "all", tokens=True)
