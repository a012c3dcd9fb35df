"""CROSSAN's side network (our reference design) against a plain loop, permuted, with absent modalities."""

from typing import cast, get_args

import pytest
import torch
from torch import Tensor

from zoo.fusion.cross_side import Cross, CrossSideNetwork, Exchange
from zoo.fusion.sanb import SANB
from zoo.fusion.side import SideNetwork

N, K, D = 5, 3, 6
NAMES = ("text", "image", "audio", "video")
CROSSES: tuple[Cross, ...] = get_args(Cross)


def inputs(names: tuple[str, ...] = NAMES, width: int = D) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    states = {m: torch.randn(N, K, width, generator=generator) for m in names}
    return states, {m: torch.ones(N, dtype=torch.bool) for m in names}


@torch.no_grad()
def network(names: tuple[str, ...] = NAMES, cross: Cross = "previous", width: int = D) -> CrossSideNetwork:
    """A network whose every parameter counts."""
    torch.manual_seed(0)
    side = CrossSideNetwork(dict.fromkeys(names, width), dict.fromkeys(names, K), 4, cross)
    for parameter in side.parameters():
        parameter.copy_(0.3 * torch.randn_like(parameter))
    return side


def exchange_of(side: CrossSideNetwork, j: int) -> Exchange:
    return cast(Exchange, side.exchanges[str(j)])


def test_the_default_is_a_plain_loop() -> None:
    side = network()
    states, present = inputs()
    running = [torch.zeros(N, D) for _ in NAMES]
    for j in range(K):
        block = cast(SANB, side.blocks[j])
        before = running
        running = []
        for m, name in enumerate(NAMES):
            g = torch.sigmoid(side.gate_KM[j, m] / 0.1)
            x = g * states[name][:, j] + (1 - g) * before[m]
            if j:
                exchange = exchange_of(side, j)
                assert exchange.logit_MO is not None
                weights = exchange.logit_MO[m].softmax(0)
                others = [before[o] for o in range(len(NAMES)) if o != m]
                mixed = torch.stack([w * o for w, o in zip(weights, others, strict=True)]).sum(0)
                x = x + torch.sigmoid(exchange.gate_M[m] / 0.1) * mixed
            narrow = (x @ block.down_GDk[m] + block.down_bias_G1k[m]).relu()
            running.append(x + narrow @ block.up_GkD[m] + block.up_bias_G1D[m])
    found = side(states, present)
    for name, expected in zip(NAMES, running, strict=True):
        torch.testing.assert_close(found[name].pooled_ND, expected)


@pytest.mark.parametrize("cross", CROSSES)
def test_every_parameter_counts_and_none_is_surplus(cross: Cross) -> None:
    side = network(cross=cross)
    found = side(*inputs())
    torch.stack([part.pooled_ND.square().sum() for part in found.values()]).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.any() for p in side.parameters())
    n_exchanges = {"previous": K - 1, "none": 0}.get(cross, K)
    assert len(side.exchanges) == n_exchanges
    assert sum(p.numel() for e in side.exchanges.values() for p in e.parameters()) == n_exchanges * (4 + 12)


def test_two_modalities_have_nothing_to_choose_and_one_nothing_to_exchange() -> None:
    assert [name for name, _ in network(NAMES[:2]).named_parameters() if "logit" in name] == []
    assert len(network(NAMES[:1]).exchanges) == 0
    states, present = inputs(NAMES[:1])
    assert network(NAMES[:1])(states, present)["text"].pooled_ND.shape == (N, D)


def test_without_exchange_it_is_iisan_without_its_inter_tower() -> None:
    side = network(NAMES[:2], cross="none")
    intra = SideNetwork(dict.fromkeys(NAMES[:2], D), dict.fromkeys(NAMES[:2], K), 4, mode="intra")
    with torch.no_grad():
        for m, name in enumerate(NAMES[:2]):
            gate_K = intra.tower(name).gate_K
            assert gate_K is not None
            gate_K.copy_(side.gate_KM[:, m])
    intra.blocks[0].load_state_dict(side.blocks.state_dict())
    states, present = inputs(NAMES[:2])
    expected, found = intra(states, present), side(states, present)
    for name in NAMES[:2]:
        torch.testing.assert_close(found[name].pooled_ND, expected[name].pooled_ND)


@torch.no_grad()
def permuted(side: CrossSideNetwork, order: list[int]) -> CrossSideNetwork:
    """The same network with its modalities in another order."""
    other = network(tuple(side.names[m] for m in order), side.cross)
    other.gate_KM.copy_(side.gate_KM[:, order])
    for block, source in zip(other.blocks, side.blocks, strict=True):
        for parameter, value in zip(block.parameters(), source.parameters(), strict=True):
            parameter.copy_(value[order])
    for j in side.exchanges:
        mine, theirs = exchange_of(other, int(j)), exchange_of(side, int(j))
        mine.gate_M.copy_(theirs.gate_M[order])
        assert mine.logit_MO is not None
        assert theirs.logit_MO is not None
        whole_MM = torch.zeros(len(order), len(order)).scatter(1, theirs.others_MO, theirs.logit_MO)
        mine.logit_MO.copy_(whole_MM[order][:, order].gather(1, mine.others_MO))
    return other


@pytest.mark.parametrize("cross", CROSSES)
def test_the_order_of_the_modalities_does_not_matter(cross: Cross) -> None:
    side = network(cross=cross)
    states, present = inputs()
    present["image"][0] = False
    expected, found = side(states, present), permuted(side, [2, 0, 3, 1])(states, present)
    for name in NAMES:
        torch.testing.assert_close(found[name].pooled_ND, expected[name].pooled_ND)


@pytest.mark.parametrize("cross", CROSSES)
def test_what_is_stored_for_an_absent_modality_is_not_read(cross: Cross) -> None:
    torch.manual_seed(0)
    widths = {"text": D, "image": D + 2, "audio": D}
    side = CrossSideNetwork(widths, dict.fromkeys(widths, K), 4, cross)
    clean = {m: torch.randn(N, K, width) for m, width in widths.items()}
    present = {m: torch.ones(N, dtype=torch.bool) for m in widths}
    present["text"][:3] = False
    present["image"][1:4] = False
    present["audio"][2:3] = False
    dirty = {m: s.clone() for m, s in clean.items()}
    for m, s in dirty.items():
        s[~present[m]] = torch.nan
    before, after = side(clean, present), side(dirty, present)
    for m in widths:
        there = present[m]
        assert torch.equal(before[m].pooled_ND[there], after[m].pooled_ND[there])
        assert torch.isfinite(after[m].pooled_ND).all()


def test_shares_of_absent_modalities_go_to_the_others() -> None:
    exchange = Exchange(3)
    with torch.no_grad():
        exchange.gate_M.fill_(100.0)  # wide open
        assert exchange.logit_MO is not None
        exchange.logit_MO.copy_(torch.tensor([[1.0, -1.0], [0.5, 0.0], [0.0, 2.0]]))
    x_MND = torch.randn(3, 2, D)
    present_MN = torch.tensor([[True, True], [True, False], [True, False]])
    found = exchange(x_MND, present_MN)
    first, second = torch.tensor([1.0, -1.0]).softmax(0)
    torch.testing.assert_close(found[0, 0], first * x_MND[1, 0] + second * x_MND[2, 0])
    assert not found[0, 1].any()  # nobody else is there
    torch.testing.assert_close(found[1, 1], x_MND[0, 1])


def test_towers_begin_nearly_alone() -> None:
    exchange = Exchange(3)
    assert torch.sigmoid(exchange.gate_M / 0.1).tolist() == pytest.approx([0.0474] * 3, abs=1e-4)


def test_different_numbers_of_states_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'text': 3, 'image': 5.*Lower `groups`"):
        CrossSideNetwork({"text": D, "image": D}, {"text": 3, "image": 5})
