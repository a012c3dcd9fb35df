import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.encoders.base import Encoded
from zoo.fusion.create import create_fusion, fusion_needs_tokens
from zoo.fusion.id_aware import IdAware, IdAwareBlock, IdAwareTransformer, Version

WIDTH = 8


def make_parts(n_items: int = 4, seed: int = 0) -> list[Encoded]:
    """Text of varying length, image, id."""
    torch.manual_seed(seed)
    text_NTD, image_NTD = torch.randn(n_items, 5, WIDTH), torch.randn(n_items, 3, WIDTH)
    mask_NT = torch.arange(5) < torch.arange(1, n_items + 1)[:, None]
    return [
        Encoded(text_NTD[:, 0], text_NTD, mask_NT),
        Encoded(image_NTD[:, 0], image_NTD),
        Encoded(torch.randn(n_items, WIDTH)),
    ]


def official(transformer: IdAwareTransformer, parts: list[Encoded], version: Version) -> Tensor:
    """The definition: heads apart, masks added to logits, every token computed in every block; (N, 3, D)."""
    text, image, item_id = parts
    assert text.tokens_NTD is not None
    assert image.tokens_NTD is not None
    assert text.mask_NT is not None
    x = torch.cat([text.tokens_NTD, image.tokens_NTD, item_id.pooled_ND[:, None]], dim=1)
    n, length = x.shape[:2]
    mask = torch.zeros(n, 1, length, length)
    mask[..., :5] += -10_000.0 * (~text.mask_NT)[:, None, None, :]
    if version == "v1":
        mask[:, :, :-1, -1] = -10_000.0
    for block in transformer.blocks:
        assert isinstance(block, IdAwareBlock)
        heads = [
            F.linear(x, w).view(n, length, block.n_heads, -1).transpose(1, 2)
            for w in block.query_key_value.weight.chunk(3)
        ]
        logits = heads[0] @ heads[1].transpose(2, 3) / (WIDTH // block.n_heads) ** 0.5 + mask
        mixed = (logits.softmax(-1) @ heads[2]).transpose(1, 2).reshape(n, length, WIDTH)
        x = block.attention_norm(x + block.output(mixed))
        x = block.feed_norm(x + block.feed_out(torch.relu(block.feed_in(x))))
    return x[:, [0, 5, -1]]


@pytest.mark.parametrize("version", ["v1", "v3"])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_equals_the_definition(version: Version, n_layers: int) -> None:
    parts = make_parts()
    transformer = IdAwareTransformer(WIDTH, n_layers, n_heads=4, version=version).eval()
    torch.testing.assert_close(transformer(parts), official(transformer, parts, version))


@pytest.mark.parametrize(("version", "reads"), [("v1", False), ("v3", True)])
def test_modalities_read_the_id_under_v3_only(version: Version, reads: bool) -> None:
    parts = make_parts()
    transformer = IdAwareTransformer(WIDTH, version=version).eval()
    before = transformer(parts)
    after = transformer([*parts[:2], Encoded(torch.randn(4, WIDTH))])
    assert torch.equal(before[:, :2], after[:, :2]) != reads
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_padded_tokens_change_nothing() -> None:
    text, *others = make_parts()
    assert text.tokens_NTD is not None
    assert text.mask_NT is not None
    garbage = torch.where(text.mask_NT[..., None], text.tokens_NTD, 100.0)
    transformer = IdAwareTransformer(WIDTH).eval()
    expected = transformer([text, *others])
    torch.testing.assert_close(transformer([text._replace(tokens_NTD=garbage), *others]), expected)


def test_order_of_parts_means_nothing() -> None:
    parts = make_parts()
    transformer = IdAwareTransformer(WIDTH).eval()
    torch.testing.assert_close(transformer(parts[::-1]), transformer(parts).flip(1))


def test_fusion_gives_the_view_of_the_id() -> None:
    parts = make_parts()
    fusion = create_fusion("id_aware", 3, WIDTH, 0.1, n_layers=2, n_heads=4, version="v3").eval()
    assert isinstance(fusion, IdAware)
    assert fusion_needs_tokens("id_aware")
    torch.testing.assert_close(fusion(parts), fusion.transformer(parts)[:, 2])
    first = [parts[2], *parts[:2]]
    torch.testing.assert_close(fusion(first), fusion(parts))


def test_starts_from_pytorchs_own_weights() -> None:
    torch.manual_seed(0)
    block = IdAwareBlock(256, n_heads=2, dropout=0.0)
    for layer in (block.query_key_value, block.output, block.feed_in):
        assert isinstance(layer, nn.Linear)
        assert layer.weight.abs().max().item() == pytest.approx(1 / 16, rel=0.01)  # 1 / sqrt(256)
    assert block.feed_in.bias.any()


def test_drops_in_training_only() -> None:
    parts, transformer = make_parts(), IdAwareTransformer(WIDTH, dropout=0.5)
    assert not torch.equal(transformer(parts), transformer(parts))
    transformer.eval()
    assert torch.equal(transformer(parts), transformer(parts))


def test_refusals() -> None:
    text, image, item_id = make_parts()
    with pytest.raises(ValueError, match="one item id, but 0 of 2 parts have no tokens"):
        IdAware(2, WIDTH)([text, image])
    with pytest.raises(ValueError, match="but 2 of 2 parts have no tokens"):
        IdAware(2, WIDTH)([item_id, item_id])
    with pytest.raises(ValueError, match="n_parts=3 but got 2"):
        IdAware(3, WIDTH)([text, item_id])
    with pytest.raises(ValueError, match="the model has 1 part"):
        IdAware(1, WIDTH)
    with pytest.raises(ValueError, match="n_heads=3 does not divide width=8"):
        IdAwareTransformer(WIDTH, n_heads=3)
    with pytest.raises(ValueError, match="n_layers must be at least 1"):
        IdAwareTransformer(WIDTH, n_layers=0)
