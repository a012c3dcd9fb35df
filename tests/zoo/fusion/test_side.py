"""IISAN's side network against plain loops, with absent modalities, and its options."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.fusion.sanb import SANB, Linears
from zoo.fusion.side import InterTower, SideNetwork, pairs

N = 5


def states(**shapes: tuple[int, int]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {m: torch.randn(N, *shape, generator=generator) for m, shape in shapes.items()}


def everywhere(*modalities: str) -> dict[str, Tensor]:
    return {m: torch.ones(N, dtype=torch.bool) for m in modalities}


@torch.no_grad()
def network(shapes: dict[str, tuple[int, int]], **options: Any) -> SideNetwork:  # noqa: ANN401
    """A network whose every parameter counts."""
    torch.manual_seed(0)
    side = SideNetwork(
        {m: d for m, (_, d) in shapes.items()}, {m: k for m, (k, _) in shapes.items()}, **options
    )
    for parameter in side.parameters():
        parameter.copy_(0.3 * torch.randn_like(parameter))
    return side


def blocks_of(side: SideNetwork, name: str) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The blocks of one tower as plain matrices."""
    for names, stack in zip(side.together.values(), side.blocks, strict=True):
        if name in names:
            assert isinstance(stack, nn.ModuleList)
            return [tuple(p[names.index(name)] for p in block.parameters()) for block in stack]  # type: ignore[misc]
    raise AssertionError(name)


def plain_block(x_ND: Tensor, block: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    down, down_bias, up, up_bias = block
    return x_ND + (x_ND @ down + down_bias).relu() @ up + up_bias


def plain_gates(side: SideNetwork, name: str) -> Tensor:
    gate_K = side.tower(name).gate_K
    assert gate_K is not None
    return torch.sigmoid(gate_K / 0.1)


@pytest.mark.parametrize("first", [False, True])
def test_intra_towers_are_a_plain_loop(first: bool) -> None:
    side = network({"text": (4, 6), "image": (3, 8)}, mode="intra", remove_first=first)
    given = states(text=(4, 6), image=(3, 8))
    found = side(given, everywhere("text", "image"))
    assert list(found) == ["text", "image"]
    for m, states_NKD in given.items():
        running = states_NKD[:, 0] if first else torch.zeros_like(states_NKD[:, 0])
        kept = states_NKD.unbind(1)[first:]
        for g, state, block in zip(plain_gates(side, m), kept, blocks_of(side, m), strict=True):
            running = plain_block(g * state + (1 - g) * running, block)
        torch.testing.assert_close(found[m].pooled_ND, running)


@pytest.mark.parametrize(("first", "gated"), [(False, True), (True, True), (False, False), (True, False)])
def test_an_inter_tower_pairs_the_upper_states_at_the_narrower_width(first: bool, gated: bool) -> None:
    side = network({"text": (5, 8), "image": (3, 6)}, mode="inter", remove_first=first, gated=gated)
    given = states(text=(5, 8), image=(3, 6))
    found = side(given, everywhere("text", "image"))["image_text"].pooled_ND
    tower = side.tower("image_text")
    assert isinstance(tower, InterTower)
    linears = tower.transforms["text"]
    assert isinstance(linears, Linears)
    assert list(tower.transforms) == ["text"]
    text = [
        state @ weight + bias
        for state, weight, bias in zip(
            given["text"].unbind(1)[2:], linears.weight_MED, linears.bias_M1D, strict=True
        )
    ]
    image = given["image"].unbind(1)
    gates = plain_gates(side, "image_text") if gated else torch.ones(len(image) - first)
    start = (image[0] + text[0]) * (0.5 if gated else 1.0)
    running = start if first else torch.zeros(N, 6)
    for g, a, b, block in zip(gates, image[first:], text[first:], blocks_of(side, "image_text"), strict=True):
        running = plain_block(running + g * a + ((1 - g) if gated else 1.0) * b, block)
    torch.testing.assert_close(found, running)


def test_towers_of_one_shape_walk_together_and_others_apart() -> None:
    symmetric = network({"text": (3, 6), "image": (3, 6)})
    assert list(symmetric.together.values()) == [["text", "image", "image_text"]]
    deeper = network({"text": (4, 6), "image": (3, 6)})
    assert list(deeper.together.values()) == [["text"], ["image", "image_text"]]
    narrow = network({"text": (3, 6), "image": (3, 6)}, bottleneck={"text": 4, "image": 16})
    assert list(narrow.together.values()) == [["text", "image_text"], ["image"]]
    given, there = states(text=(3, 6), image=(3, 6)), everywhere("text", "image")
    alone = network({"text": (3, 6), "image": (3, 6)}, mode="intra")
    with torch.no_grad():
        for parameter, source in zip(alone.blocks.parameters(), symmetric.blocks.parameters(), strict=True):
            parameter.copy_(source[:2])
        for m in ("text", "image"):
            alone.tower(m).load_state_dict(symmetric.tower(m).state_dict())
    for m in ("text", "image"):
        torch.testing.assert_close(alone(given, there)[m].pooled_ND, symmetric(given, there)[m].pooled_ND)


def test_more_modalities_have_a_tower_for_every_pair() -> None:
    modalities = ("text", "image", "audio", "video")
    side = network({m: (2, 4) for m in modalities})
    assert len(side.out_widths) == 4 + 6
    assert list(pairs(modalities))[:3] == ["image_text", "audio_text", "video_text"]


@pytest.mark.parametrize("options", [{}, {"gated": False}, {"remove_first": True}])
@pytest.mark.parametrize("wide", [6, 8])
def test_what_is_stored_for_an_absent_modality_is_not_read(options: dict[str, bool], wide: int) -> None:
    side = network({"text": (3, wide), "image": (3, 6)}, **options)
    clean, present = states(text=(3, wide), image=(3, 6)), everywhere("text", "image")
    present["text"][:2] = False
    present["image"][1:3] = False
    dirty = {m: s.clone() for m, s in clean.items()}
    for m, s in dirty.items():
        s[~present[m]] = torch.nan
    before, after = side(clean, present), side(dirty, present)
    assert before["image_text"].present_N is not None
    assert before["image_text"].present_N.tolist() == [True, False, True, True, True]
    for name in before:
        assert torch.equal(before[name].pooled_ND, after[name].pooled_ND)
        assert torch.isfinite(before[name].pooled_ND).all()
    torch.stack([part.pooled_ND.sum() for part in after.values()]).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in side.parameters())


def test_where_one_of_two_is_absent_the_other_has_the_whole_share() -> None:
    side = network({"text": (3, 6), "image": (3, 6)}, mode="inter")
    given, present = states(text=(3, 6), image=(3, 6)), everywhere("text", "image")
    present["image"][:] = False
    found = side(given, present)["image_text"].pooled_ND
    running = torch.zeros(N, 6)
    for state, block in zip(given["text"].unbind(1), blocks_of(side, "image_text"), strict=True):
        running = plain_block(running + state, block)
    torch.testing.assert_close(found, running)


def test_blocks_start_close_to_the_identity() -> None:
    torch.manual_seed(0)
    block = SANB(2, 64, 32, activation="gelu")
    x_GND = torch.randn(2, N, 64)
    assert (block(x_GND) - x_GND).abs().max() < 0.05


def test_impossible_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="use mode: intra"):
        SideNetwork({"text": 4}, {"text": 3}, mode="inter")
    with pytest.raises(ValueError, match="text without a block"):
        SideNetwork({"text": 4, "image": 4}, {"text": 1, "image": 2}, remove_first=True)
