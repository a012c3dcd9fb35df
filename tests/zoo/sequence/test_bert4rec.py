import pytest
import torch
from torch import nn
from torch.nn import functional as F

from zoo.sequence.bert4rec import BERT4Rec
from zoo.sequence.block import SASRecBlock
from zoo.sequence.sasrec import SASRec

WIDTH, MAX_LEN = 16, 5


@pytest.fixture
def backbone() -> BERT4Rec:
    torch.manual_seed(0)
    return BERT4Rec(WIDTH, MAX_LEN).eval()


def blocks_of(backbone: nn.Module) -> list[SASRecBlock]:
    return [module for module in backbone.modules() if isinstance(module, SASRecBlock)]


def test_the_last_state_is_sasrecs(backbone: BERT4Rec) -> None:
    """In one block the last slot of SASRec sees all there is: only the earlier ones see less."""
    sasrec = SASRec(WIDTH, MAX_LEN + 1, n_layers=1).eval()
    one_block = BERT4Rec(WIDTH, MAX_LEN, n_layers=1).eval()
    state = {name: tensor for name, tensor in one_block.state_dict().items() if name != "mask_D"}
    sasrec.load_state_dict({name.replace("_SD", "_LD"): tensor for name, tensor in state.items()})
    item_BSD, real_BS = torch.randn(2, MAX_LEN + 1, WIDTH), torch.arange(6) >= torch.tensor([[0], [2]])
    one_BSD, other_BSD = one_block(item_BSD, real_BS), sasrec(item_BSD, real_BS)
    torch.testing.assert_close(one_BSD[:, -1], other_BSD[:, -1], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(one_BSD[:, -2], other_BSD[:, -2], atol=1e-3)


def test_hides_a_share_of_the_real_slots(backbone: BERT4Rec) -> None:
    real_BS = torch.rand(4000, 6) < 0.7
    torch.manual_seed(1)
    hidden_BS = backbone.draw(real_BS)
    assert not (hidden_BS & ~real_BS).any()
    assert (hidden_BS.sum() / real_BS.sum()).item() == pytest.approx(0.4, abs=0.01)
    assert not torch.equal(backbone.draw(real_BS), hidden_BS)
    torch.manual_seed(1)
    assert torch.equal(backbone.draw(real_BS), hidden_BS)


def test_a_hidden_item_reaches_no_state(backbone: BERT4Rec) -> None:
    item_BSD, real_BS = torch.randn(1, 6, WIDTH), torch.ones(1, 6, dtype=torch.bool)
    hidden_BS = torch.tensor([[False, True, False, False, True, False]])
    other_BSD = torch.where(hidden_BS[..., None], torch.randn(1, 6, WIDTH), item_BSD)
    input_BSD = backbone.hide(item_BSD, hidden_BS)
    assert torch.equal(input_BSD[hidden_BS], backbone.mask_D.expand(2, -1))
    assert torch.equal(input_BSD[~hidden_BS], item_BSD[~hidden_BS])
    assert torch.equal(backbone(backbone.hide(other_BSD, hidden_BS), real_BS), backbone(input_BSD, real_BS))


def test_the_user_vector_is_the_state_of_an_appended_mask(backbone: BERT4Rec) -> None:
    item_BLD, real_BL = torch.randn(2, MAX_LEN, WIDTH), torch.arange(MAX_LEN) >= torch.tensor([[0], [3]])
    appended_BSD, real_BS = F.pad(item_BLD, (0, 0, 0, 1)), F.pad(real_BL, (0, 1), value=True)
    appended_BSD = backbone.hide(appended_BSD, torch.arange(6).expand(2, -1) == 5)
    user_BD = backbone.next_state(item_BLD, real_BL)
    torch.testing.assert_close(user_BD, backbone(appended_BSD, real_BS)[:, -1], atol=0, rtol=0)
    trimmed_BD = backbone.next_state(item_BLD[1:, 3:], real_BL[1:, 3:])
    torch.testing.assert_close(trimmed_BD, user_BD[1:], atol=1e-6, rtol=1e-5)


def test_the_form_of_pixelrec() -> None:
    torch.manual_seed(0)
    backbone = BERT4Rec(256, MAX_LEN, n_heads=4, form="rec")
    for block in blocks_of(backbone):
        assert block.activation is F.gelu
        assert block.feed_in.weight.shape == (256, 256)
        assert block.query_key_value.bias is not None
        assert block.output.bias is not None
        assert block.attention_norm.eps == block.feed_norm.eps == 1e-12
        assert block.query_key_value.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert not block.query_key_value.bias.any()
    assert backbone.norm.eps == 1e-12
    assert backbone.position_SD.std().item() == pytest.approx(0.02, rel=0.1)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="n_heads=3 must divide width=16"):
        BERT4Rec(16, 5, n_heads=3)
