import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.sequence.nextitnet import CausalConv, NextItNet, ResidualBlock

WIDTH, MAX_LEN = 8, 12


def make(**options: object) -> NextItNet:
    torch.manual_seed(0)
    return NextItNet(WIDTH, MAX_LEN, **options).eval()  # type: ignore[arg-type]


def blocks_of(backbone: NextItNet) -> list[ResidualBlock]:
    return [module for module in backbone.modules() if isinstance(module, ResidualBlock)]


def reference(backbone: NextItNet, item_LD: Tensor, dilations: list[int]) -> Tensor:
    """One history, every tap of every convolution written out."""
    hidden_LD = item_LD
    for block, dilation in zip(blocks_of(backbone), dilations, strict=True):
        x_LD = hidden_LD
        for times, (conv, norm) in enumerate(zip(block.convs, block.norms, strict=True), start=1):
            assert isinstance(conv, CausalConv)
            assert conv.conv.bias is not None
            sums_LD = conv.conv.bias.expand(len(x_LD), -1)
            for tap in range(3):
                back = (2 - tap) * dilation * times
                shifted_LD = torch.cat([torch.zeros(back, WIDTH), x_LD])[: len(x_LD)]
                sums_LD = sums_LD + shifted_LD @ conv.conv.weight[:, :, tap].T
            x_LD = F.relu(norm(sums_LD))
        hidden_LD = hidden_LD + x_LD
    return hidden_LD


def test_two_layers_are_four_blocks_with_dilations_1_4_1_4() -> None:
    backbone = make()
    item_LD = torch.randn(MAX_LEN, WIDTH)
    user_LD = backbone(item_LD[None], torch.ones(1, MAX_LEN, dtype=torch.bool))[0]
    torch.testing.assert_close(user_LD, reference(backbone, item_LD, [1, 4, 1, 4]), atol=1e-5, rtol=1e-5)


def test_skip_is_the_history_alone() -> None:
    backbone = make()
    item_BLD = torch.randn(3, MAX_LEN, WIDTH)
    real_BL = torch.arange(MAX_LEN) >= MAX_LEN - torch.tensor([[12], [5], [1]])
    user_BLD = backbone(item_BLD, real_BL)
    for user, real_L in enumerate(real_BL):
        expected_LD = reference(backbone, item_BLD[user, real_L], [1, 4, 1, 4])
        torch.testing.assert_close(user_BLD[user, real_L], expected_LD, atol=1e-5, rtol=1e-5)


def test_vector_reads_the_pad_vector_before_the_history() -> None:
    backbone = make(padding="vector", n_layers=1)
    item_LD = torch.randn(3, WIDTH)
    filled_LD = torch.cat([backbone.padded.pad_D.expand(MAX_LEN - 3, -1), item_LD])
    user_LD = backbone(item_LD[None], torch.ones(1, 3, dtype=torch.bool))[0]
    torch.testing.assert_close(user_LD, reference(backbone, filled_LD, [1, 4])[-3:], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(user_LD, reference(backbone, item_LD, [1, 4]), atol=1e-3)


def test_a_bias_at_padded_slots_does_not_reach_real_ones() -> None:
    """Norms and biases make padded slots non-zero again after every layer."""
    backbone = make()
    for parameter in backbone.parameters():
        parameter.data.add_(0.3)
    item_BLD = torch.randn(1, 4, WIDTH)
    alone_BLD = backbone(item_BLD, torch.ones(1, 4, dtype=torch.bool))
    padded_BLD = F.pad(item_BLD, (0, 0, 8, 0))
    user_BLD = backbone(padded_BLD, torch.arange(12)[None] >= 8)
    torch.testing.assert_close(user_BLD[:, 8:], alone_BLD, atol=1e-5, rtol=1e-5)
