import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLayer

from zoo.encoders.base import Encoded
from zoo.encoders.tower import mean_tokens
from zoo.fusion.attention import CoAttention, CoLayer, MergeAttention, MergeLayer, TokenFusion
from zoo.fusion.parts import side_by_side

MASK_NT = torch.tensor([[True] * 3 + [False] * 2, [True] * 5, [True] + [False] * 4])


def tokens(width: int = 8) -> list[Encoded]:
    """Text of three items with padding, and image tokens without."""
    text_NTD, image_NTD = torch.randn(3, 5, width), torch.randn(3, 4, width)
    return [Encoded(text_NTD.mean(1), text_NTD, MASK_NT), Encoded(image_NTD.mean(1), image_NTD)]


@pytest.mark.parametrize("fusion_class", [MergeAttention, CoAttention])
@pytest.mark.parametrize("token_types", [False, True])
def test_every_parameter_counts(fusion_class: type[TokenFusion], token_types: bool) -> None:
    torch.manual_seed(0)
    fusion = fusion_class(2, 8, 0.0, 2, 16, n_layers=2, token_types=token_types)
    item_ND: Tensor = fusion(tokens())
    item_ND.square().sum().backward()  # type: ignore[no-untyped-call]
    assert item_ND.shape == (3, 8)
    assert all(p.grad is not None for p in fusion.parameters())
    assert (fusion.type_MD is not None) is token_types


@pytest.mark.parametrize("fusion_class", [MergeAttention, CoAttention])
def test_padding_tokens_count_for_nothing(fusion_class: type[TokenFusion]) -> None:
    fusion = fusion_class(2, 8, 0.1, None, None, 2, True).eval()
    text, image = tokens()
    assert text.tokens_NTD is not None
    spoiled = text._replace(tokens_NTD=torch.where(MASK_NT[..., None], text.tokens_NTD, 1e3))
    torch.testing.assert_close(fusion([spoiled, image]), fusion([text, image]))
    longer_NTD = F.pad(text.tokens_NTD, (0, 0, 0, 3), value=-7.0)
    longer = Encoded(text.pooled_ND, longer_NTD, F.pad(MASK_NT, (0, 3)))
    torch.testing.assert_close(fusion([longer, image]), fusion([text, image]))


def test_merge_attention_is_bert_layers() -> None:
    torch.manual_seed(0)
    fusion = MergeAttention(2, 32, n_heads=4, ffn=48).eval()
    config = BertConfig(hidden_size=32, num_attention_heads=4, intermediate_size=48, hidden_act="gelu")
    config._attn_implementation = "eager"
    theirs = BertLayer(config).eval()  # type: ignore[no-untyped-call]
    (layer,) = fusion.layers
    assert isinstance(layer, MergeLayer)
    ours, attention = layer.attention, theirs.attention
    names = {
        "weight": ours.query_key_value.weight.chunk(3),
        "bias": ours.query_key_value.bias.chunk(3),
    }
    state = {
        f"{part}.{kind}": tensor
        for kind, tensors in names.items()
        for part, tensor in zip(("query", "key", "value"), tensors, strict=True)
    }
    attention.self.load_state_dict(state)
    for mine, other in (
        (ours.output, attention.output.dense),
        (ours.norm, attention.output.LayerNorm),
        (layer.feed.feed_in, theirs.intermediate.dense),
        (layer.feed.feed_out, theirs.output.dense),
        (layer.feed.norm, theirs.output.LayerNorm),
    ):
        other.load_state_dict(mine.state_dict())
    tokens_NTD, mask_NT = side_by_side(parts := tokens(32))
    assert mask_NT is not None
    additive = (~mask_NT)[:, None, None] * -10_000.0
    output = theirs(tokens_NTD, attention_mask=additive)
    hidden_NTD = output[0] if isinstance(output, tuple) else output
    torch.testing.assert_close(fusion(parts), mean_tokens(hidden_NTD, mask_NT))


def test_merge_attention_takes_any_parts_and_ids_as_one_token() -> None:
    fusion = MergeAttention(3, 8)
    parts = [*tokens(), item_id := Encoded(torch.randn(3, 8))]
    as_token = Encoded(item_id.pooled_ND, item_id.pooled_ND[:, None], torch.ones(3, 1, dtype=torch.bool))
    fusion.eval()
    torch.testing.assert_close(fusion(parts), fusion([*tokens_of(parts), as_token]))
    with pytest.raises(ValueError, match="n_parts=3 but got 2"):
        fusion(parts[:2])


def tokens_of(parts: list[Encoded]) -> list[Encoded]:
    """The parts that have tokens."""
    return [part for part in parts if part.tokens_NTD is not None]


def test_co_attention_reads_an_id_too() -> None:
    text, _ = tokens()
    assert CoAttention(2, 8)([text, Encoded(torch.randn(3, 8))]).shape == (3, 8)


def test_co_attention_survives_an_item_without_a_real_token() -> None:
    fusion = CoAttention(2, 8)
    text, image = tokens()
    nothing = text._replace(mask_NT=torch.zeros_like(MASK_NT))
    item_ND: Tensor = fusion([nothing, image])
    item_ND.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(item_ND).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in fusion.parameters())


def test_cross_attention_is_one_set_of_weights_and_reads_what_was_before() -> None:
    fusion = CoAttention(2, 8, token_types=False).eval()
    text, image = tokens()
    (layer,) = fusion.layers
    assert isinstance(layer, CoLayer)
    assert text.tokens_NTD is not None
    assert image.tokens_NTD is not None
    there = layer.cross.exchange(text.tokens_NTD, MASK_NT, image.tokens_NTD, None)
    back = layer.cross.exchange(image.tokens_NTD, None, text.tokens_NTD, MASK_NT)
    torch.testing.assert_close(there, back[::-1])


@pytest.mark.parametrize(
    ("fusion_class", "token_types", "expected"),
    [
        (CoAttention, True, 17_721_600),
        (CoAttention, False, 17_721_600 - 2 * 768),
        # The official merge attention makes a table of token types that it does not use.
        (MergeAttention, True, 7_089_408),
        (MergeAttention, False, 7_089_408 - 2 * 768),
    ],
)
def test_parameters_at_the_papers_width(
    fusion_class: type[TokenFusion], token_types: bool, expected: int
) -> None:
    with torch.device("meta"):
        fusion = fusion_class(2, 768, 0.1, None, None, 1, token_types)
    assert sum(p.numel() for p in fusion.parameters()) == expected


@pytest.mark.parametrize("fusion_class", [MergeAttention, CoAttention])
def test_initial_weights_are_berts(fusion_class: type[TokenFusion]) -> None:
    torch.manual_seed(0)
    fusion = fusion_class(2, 128, 0.1, None, None, 1, True)
    for module in fusion.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.03)
            assert not module.bias.any()
    assert fusion.type_MD is not None
    assert fusion.type_MD.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize("fusion_class", [MergeAttention, CoAttention])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_heads": 5}, "n_heads=5 does not divide width=8.*gets 1"),
        ({"n_heads": 0}, "n_heads must be at least 1; found 0"),
        ({"ffn": -1}, "ffn must be at least 1; found -1"),
        ({"n_layers": 0}, "n_layers must be at least 1; found 0"),
    ],
)
def test_wrong_sizes(fusion_class: type[TokenFusion], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fusion_class(2, 8, **options)  # type: ignore[arg-type]


def test_co_attention_takes_two_parts() -> None:
    with pytest.raises(ValueError, match=r"'co_att' takes exactly two parts .* has 3"):
        CoAttention(3, 8)


def test_dropout_only_in_training() -> None:
    fusion, parts = MergeAttention(2, 8, dropout=0.5), tokens()
    assert not torch.equal(fusion(parts), fusion(parts))
    fusion.eval()
    torch.testing.assert_close(fusion(parts), fusion(parts))
