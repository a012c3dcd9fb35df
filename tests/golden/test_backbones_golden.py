"""Values the authors' modules gave for PMMRec's user encoders (G1 to G3), in float64."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tests.golden.filling import filled, waves
from zoo.sequence.block import SASRecBlock
from zoo.sequence.gru4rec import GRU4Rec
from zoo.sequence.nextitnet import CausalConv, NextItNet, ResidualBlock
from zoo.sequence.sasrec import SASRec

WIDTH, MAX_LEN = 4, 3
REAL_BL = torch.tensor([[0, 1, 1], [1, 1, 1]]).bool()


def fill(parameters: Sequence[tuple[Tensor, bool]]) -> None:
    """Fills parameters, given with whether they are weights of a norm, in the authors' order."""
    norms = [i for i, (_, norm) in enumerate(parameters) if norm]
    values = filled([tuple(parameter.shape) for parameter, _ in parameters], norms)
    for (parameter, _), value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def pair(layer: nn.Module) -> list[tuple[Tensor, bool]]:
    """Weight and bias."""
    assert isinstance(layer.weight, Tensor)
    assert isinstance(layer.bias, Tensor)
    return [(layer.weight, isinstance(layer, nn.LayerNorm)), (layer.bias, False)]


ITEM_BLD = waves((2, MAX_LEN, WIDTH))


@torch.no_grad()
def test_sasrec() -> None:
    backbone = SASRec(WIDTH, MAX_LEN).double().eval()
    order = [(backbone.position_LD, False), *pair(backbone.norm)]
    for block in backbone.blocks:
        assert isinstance(block, SASRecBlock)
        order += [(part, False) for part in block.query_key_value.weight.chunk(3)]
        order += [(block.output.weight, False), *pair(block.attention_norm)]
        order += [*pair(block.feed_in), *pair(block.feed_out), *pair(block.feed_norm)]
    assert len(order) == 27
    fill(order)
    user_BLD = backbone(ITEM_BLD, REAL_BL)
    expected = [
        [0.5631545, 0.4241489, -0.2880638, -1.1261965],
        [0.9146349, -0.0866722, -0.8304952, -0.3427916],
        [0.2530477, 0.5599752, 0.0512351, -1.2879891],
        [0.6284727, 0.3664762, -0.3386478, -1.0806836],
        [0.7376922, 0.2661003, -0.4674629, -0.9508161],
    ]
    expected_PD = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(user_BLD[REAL_BL], expected_PD, atol=1e-6, rtol=0)


@torch.no_grad()
def test_gru() -> None:
    backbone = GRU4Rec(WIDTH, MAX_LEN, n_layers=1).double().eval()
    fill([(parameter, False) for parameter in backbone.parameters()])
    user_BLD = backbone(ITEM_BLD, torch.ones_like(REAL_BL))
    expected = [
        [0.1665822, 0.1895503, -0.2679622, -0.2954527],
        [0.2929858, 0.3567284, -0.451301, -0.5587558],
        [0.3843795, 0.478547, -0.5292722, -0.6978797],
        [0.2146417, 0.3540313, -0.2157191, -0.4188525],
    ]
    found_PD = torch.cat([user_BLD[0], user_BLD[1, -1:]])
    expected_PD = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found_PD, expected_PD, atol=1e-6, rtol=0)


@torch.no_grad()
def test_nextitnet() -> None:
    backbone = NextItNet(WIDTH, MAX_LEN, n_layers=1).double().eval()
    order: list[tuple[Tensor, bool]] = []
    for block in backbone.blocks:
        assert isinstance(block, ResidualBlock)
        for conv, norm in zip(block.convs, block.norms, strict=True):
            assert isinstance(conv, CausalConv)
            order += [*pair(conv.conv), *pair(norm)]
    assert len(order) == 16
    fill(order)
    user_BD = backbone(ITEM_BLD, torch.ones_like(REAL_BL))[:, -1]
    expected = [[1.7903244, 1.5735889, 2.1613301, 3.9274724], [1.2587248, 0.9072044, 1.8768574, 2.6779008]]
    torch.testing.assert_close(user_BD, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)
