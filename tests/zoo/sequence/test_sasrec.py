import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.sequence.base import SequenceBackbone, causal_mask
from zoo.sequence.block import SASRecBlock
from zoo.sequence.sasrec import SASRec

WIDTH, MAX_LEN = 16, 7


@pytest.fixture
def backbone() -> SASRec:
    torch.manual_seed(0)
    return SASRec(WIDTH, MAX_LEN).eval()


def make_histories() -> tuple[Tensor, Tensor]:
    """Item vectors of three users with 7, 4 and 1 real slots."""
    real_BL = torch.arange(MAX_LEN) >= MAX_LEN - torch.tensor([[7], [4], [1]])
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, MAX_LEN, WIDTH, generator=generator) * real_BL[..., None], real_BL


def blocks_of(backbone: SASRec) -> list[SASRecBlock]:
    return [module for module in backbone.modules() if isinstance(module, SASRecBlock)]


def reference(backbone: SASRec, item_LD: Tensor) -> Tensor:
    """One user without padding, attention written out."""
    hidden_LD: Tensor = backbone.norm(item_LD + backbone.position_LD[-len(item_LD) :])
    future_LL = torch.ones(len(item_LD), len(item_LD)).triu(1).bool()
    for block in blocks_of(backbone):
        query, key, value = (hidden_LD @ weight.T for weight in block.query_key_value.weight.chunk(3))
        heads = []
        for start in range(0, WIDTH, WIDTH // 2):
            head = slice(start, start + WIDTH // 2)
            score_LL = query[:, head] @ key[:, head].T / (WIDTH // 2) ** 0.5
            heads.append(score_LL.masked_fill(future_LL, -torch.inf).softmax(-1) @ value[:, head])
        hidden_LD = block.attention_norm(hidden_LD + block.output(torch.cat(heads, -1)))
        hidden_LD = block.feed_norm(hidden_LD + block.feed_out(F.relu(block.feed_in(hidden_LD))))
    return hidden_LD


def test_fits_the_protocol(backbone: SASRec) -> None:
    fitting: SequenceBackbone = backbone
    item_BLD, real_BL = make_histories()
    assert fitting(item_BLD, real_BL).shape == item_BLD.shape


def test_equals_written_out_attention(backbone: SASRec) -> None:
    item_BLD, real_BL = make_histories()
    user_BLD = backbone(item_BLD, real_BL)
    for user, real_L in enumerate(real_BL):
        expected_LD = reference(backbone, item_BLD[user, real_L])
        torch.testing.assert_close(user_BLD[user, real_L], expected_LD, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("width", "max_len", "n_layers"), [(16, 7, 2), (64, 50, 2), (8, 4, 3)])
def test_parameter_count(width: int, max_len: int, n_layers: int) -> None:
    count = sum(parameter.numel() for parameter in SASRec(width, max_len, n_layers).parameters())
    assert count == n_layers * (12 * width**2 + 9 * width) + max_len * width + 2 * width


def test_the_papers_form_equals_pytorchs_own_attention() -> None:
    """Queries are normalised and keys are not, as in the authors' code."""
    torch.manual_seed(0)
    backbone = SASRec(WIDTH, MAX_LEN, form="paper").eval()
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.3)
    item_BLD, real_BL = make_histories()
    user_BLD = backbone(item_BLD, real_BL)
    for user, real_L in enumerate(real_BL):
        item_LD = item_BLD[user, real_L]
        hidden_LD = item_LD * WIDTH**0.5 + backbone.position_LD[-len(item_LD) :]
        future_LL = torch.ones(len(item_LD), len(item_LD)).triu(1).bool()
        for block in blocks_of(backbone):
            attention = nn.MultiheadAttention(WIDTH, 2).eval()
            attention.load_state_dict(
                {
                    "in_proj_weight": block.query_key_value.weight,
                    "in_proj_bias": block.query_key_value.bias,
                    "out_proj.weight": block.output.weight,
                    "out_proj.bias": block.output.bias,
                }
            )
            query_LD = block.attention_norm(hidden_LD)
            mixed_LD, _ = attention(query_LD, hidden_LD, hidden_LD, attn_mask=future_LL)
            hidden_LD = block.feed_norm(query_LD + mixed_LD)
            hidden_LD = hidden_LD + block.feed_out(F.relu(block.feed_in(hidden_LD)))
        expected_LD = F.layer_norm(hidden_LD, (WIDTH,), backbone.norm.weight, backbone.norm.bias, eps=1e-8)
        torch.testing.assert_close(user_BLD[user, real_L], expected_LD, atol=1e-5, rtol=1e-5)
    count = sum(parameter.numel() for parameter in backbone.parameters())
    assert count == 2 * (6 * WIDTH**2 + 10 * WIDTH) + MAX_LEN * WIDTH + 2 * WIDTH


def test_padded_content_changes_nothing(backbone: SASRec) -> None:
    item_BLD, real_BL = make_histories()
    noise_BLD = torch.where(real_BL[..., None], item_BLD, 100 * torch.randn_like(item_BLD))
    torch.testing.assert_close(
        backbone(noise_BLD, real_BL)[real_BL], backbone(item_BLD, real_BL)[real_BL], atol=0, rtol=0
    )


def test_trimming_padding_changes_nothing(backbone: SASRec) -> None:
    item_BLD, real_BL = make_histories()
    short = backbone(item_BLD[1:, 3:], real_BL[1:, 3:])
    torch.testing.assert_close(short[:, -1], backbone(item_BLD, real_BL)[1:, -1], atol=1e-6, rtol=1e-6)


def test_later_items_do_not_change_earlier_states(backbone: SASRec) -> None:
    item_BLD, real_BL = make_histories()
    changed_BLD = item_BLD.clone()
    changed_BLD[:, -1] *= -1
    before, after = backbone(item_BLD, real_BL), backbone(changed_BLD, real_BL)
    torch.testing.assert_close(after[:, :-1], before[:, :-1], atol=0, rtol=0)
    assert not torch.allclose(after[:, -1], before[:, -1])


def test_all_padded_histories_stay_finite(backbone: SASRec) -> None:
    item_BLD = torch.zeros(2, MAX_LEN, WIDTH, requires_grad=True)
    user_BLD = backbone.train()(item_BLD, torch.zeros(2, MAX_LEN, dtype=torch.bool))
    user_BLD.sum().backward()
    assert user_BLD.isfinite().all()
    assert item_BLD.grad is not None
    assert item_BLD.grad.isfinite().all()


def test_every_parameter_gets_a_gradient(backbone: SASRec) -> None:
    item_BLD, real_BL = make_histories()
    (backbone(item_BLD, real_BL)[real_BL] * torch.arange(WIDTH)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in backbone.parameters())


def test_dropout_is_at_all_four_places() -> None:
    torch.manual_seed(0)
    item_BLD, real_BL = make_histories()
    backbone = SASRec(WIDTH, MAX_LEN, dropout=0.5).train()
    calm_BLD = SASRec(WIDTH, MAX_LEN, dropout=0.0).train()(item_BLD, real_BL)
    assert calm_BLD.isfinite().all()
    places = [backbone.dropout, *(block.dropout for block in blocks_of(backbone))]
    for noisy in ["attention", *range(len(places))]:
        for place, module in enumerate(places):
            assert isinstance(module, nn.Dropout)
            module.p = 0.5 if noisy == place else 0.0
        for block in blocks_of(backbone):
            block.attention_dropout = 0.5 if noisy == "attention" else 0.0
        assert not torch.equal(backbone(item_BLD, real_BL), backbone(item_BLD, real_BL))


def test_initial_spread_is_xavier_of_each_matrix() -> None:
    torch.manual_seed(0)
    block = blocks_of(SASRec(256, 5))[0]
    for weight_DD in block.query_key_value.weight.chunk(3):
        assert weight_DD.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)


def test_mask_of_scattered_padding_never_shows_it() -> None:
    allowed_LL = causal_mask(torch.tensor([[True, False, True]]))[0, 0]
    assert allowed_LL.tolist() == [[True, False, False], [False, True, False], [True, False, True]]


def test_too_long_histories_are_refused(backbone: SASRec) -> None:
    with pytest.raises(ValueError, match="7 positions but got histories of length 8"):
        backbone(torch.zeros(1, 8, WIDTH), torch.ones(1, 8, dtype=torch.bool))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="n_heads=3 must divide width=16"):
        SASRec(16, 5, n_heads=3)
