import pytest
import torch

from zoo.encoders.base import Encoded
from zoo.fusion.base import Fusion
from zoo.fusion.create import FUSIONS, check_fusion, create_fusion, fusion_needs_tokens

MMSR = [
    "sum",
    "concat",
    "film",
    "gated",
    "sum_dnn",
    "concat_dnn",
    "film_dnn",
    "gated_dnn",
    "co_att",
    "merge_attn",
]


@pytest.mark.parametrize("name", FUSIONS)
def test_every_name_fuses_two_parts(name: str) -> None:
    tokens_NTD = torch.randn(3, 5, 8)
    item_id = Encoded(torch.randn(3, 8))  # a part without tokens, which id_aware must have
    parts = [Encoded(tokens_NTD.mean(1), tokens_NTD), item_id]
    fusion = create_fusion(name, 2, 8, 0.1)
    assert isinstance(fusion, Fusion)
    assert fusion(parts).shape == (3, 8)
    assert fusion_needs_tokens(name) is fusion.needs_tokens


def test_the_ten_of_the_study_are_there() -> None:
    assert set(MMSR) <= set(FUSIONS)
    assert [name for name in MMSR if fusion_needs_tokens(name)] == ["co_att", "merge_attn"]


@pytest.mark.parametrize("ask", [fusion_needs_tokens, lambda name: create_fusion(name, 2, 8, 0.1)])
def test_an_unknown_name_says_what_is_near(ask: object) -> None:
    assert callable(ask)
    with pytest.raises(
        ValueError, match=r"no fusion named 'merge_attention'. Did you mean merge_attn.*Known: add"
    ):
        ask("merge_attention")


def test_an_unknown_option_says_what_is_near() -> None:
    message = r"'merge_attn' has no option 'heads'. Did you mean n_heads\? Its options: n_heads, ffn"
    with pytest.raises(ValueError, match=message):
        create_fusion("merge_attn", 2, 8, 0.1, heads=2)
    with pytest.raises(ValueError, match=r"'cat_3' has no option 'blocks'.* Its options: none"):
        create_fusion("cat_3", 2, 8, 0.1, blocks=2)


def test_checking_makes_no_weights_and_draws_no_numbers() -> None:
    state = torch.get_rng_state()
    check_fusion("co_att", 2, 768, n_heads=12)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="exactly two parts"):
        check_fusion("film", 3, 8)
    with pytest.raises(ValueError, match="n_heads=3 does not divide width=8"):
        check_fusion("merge_attn", 2, 8, n_heads=3)
