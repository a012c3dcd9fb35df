"""MOMEF (our reference design) and the masked concatenation."""

import pytest
import torch
from torch import Tensor

from zoo.encoders.base import Encoded
from zoo.fusion.momef import ConcatLinear, Momef, imbalance
from zoo.fusion.sanb import Linears

N, M, D = 6, 4, 8


def fusion_of(top_k: int | None = None, temperature: float = 1.0) -> Momef:
    """One whose router has chosen."""
    torch.manual_seed(0)
    fusion = Momef(M, D, top_k, temperature)
    torch.nn.init.normal_(fusion.router.weight)
    return fusion


def parts(n_parts: int = M) -> list[Encoded]:
    generator = torch.Generator().manual_seed(1)
    return [Encoded(torch.randn(N, D, generator=generator)) for _ in range(n_parts)]


def with_gaps(given: list[Encoded], garbage: float) -> list[Encoded]:
    """Item 0 lacks everything, item 1 the first part; garbage stands there."""
    found = []
    for i, part in enumerate(given):
        present_N = torch.ones(N, dtype=torch.bool)
        present_N[0], present_N[1] = False, i > 0
        pooled_ND = torch.where(present_N[:, None], part.pooled_ND, garbage)
        found.append(Encoded(pooled_ND, present_N=present_N))
    return found


def test_size_at_four_modalities() -> None:
    count = sum(p.numel() for p in Momef(4, 64).parameters())
    assert (
        count == (256 * 4 + 4) + 4 * 2 * (64 * 64 + 64) + 64
    )  # router, experts, the vector of an empty item


def test_it_is_the_weighed_sum_of_experts() -> None:
    fusion, given = fusion_of(temperature=0.5), parts()
    first, _, second = fusion.experts
    assert isinstance(first, Linears)
    assert isinstance(second, Linears)
    logits = fusion.router(torch.cat([p.pooled_ND for p in given], dim=-1)) / 0.5
    expected = torch.zeros(N, D)
    for m, part in enumerate(given):
        hidden = torch.nn.functional.gelu(part.pooled_ND @ first.weight_MED[m] + first.bias_M1D[m])
        expected = expected + logits.softmax(1)[:, m : m + 1] * (
            hidden @ second.weight_MED[m] + second.bias_M1D[m]
        )
    torch.testing.assert_close(fusion(given), expected)


@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_shares_add_up_and_leave_absent_parts_out(top_k: int | None) -> None:
    share_NM = fusion_of(top_k).shares(with_gaps(parts(), 0.0))
    assert share_NM.sum(1).tolist() == pytest.approx([0.0] + [1.0] * (N - 1))
    assert not share_NM[1, 0]
    assert int((share_NM[2:] > 0).sum(1).max()) == (top_k or M)


def test_top_k_keeps_the_best_and_their_ratios() -> None:
    dense, sparse = fusion_of(), fusion_of(top_k=2)
    sparse.load_state_dict(dense.state_dict())
    all_NM, two_NM = dense.shares(parts()), sparse.shares(parts())
    best = all_NM.topk(2, dim=1)
    torch.testing.assert_close(two_NM.gather(1, best.indices), best.values / best.values.sum(1, keepdim=True))


@pytest.mark.parametrize("fusion", [fusion_of(), fusion_of(top_k=2), ConcatLinear(M, D)])
def test_garbage_of_absent_parts_is_not_read(fusion: Momef | ConcatLinear) -> None:
    clean, dirty = fusion(with_gaps(parts(), 0.0)), fusion(with_gaps(parts(), torch.nan))
    assert torch.equal(clean, dirty)
    nothing_D = fusion.nothing_D if isinstance(fusion, Momef) else fusion.linear.bias
    assert torch.equal(clean[0], nothing_D)  # learned, as every other parameter


def test_one_part_needs_no_router() -> None:
    fusion = Momef(1, D, noisy=True)
    assert not any("router" in name or "noise" in name for name, _ in fusion.named_parameters())
    assert fusion(parts(1)).shape == (N, D)


def test_experts_begin_alike() -> None:
    torch.testing.assert_close(Momef(M, D).shares(parts()), torch.full((N, M), 1 / M))


def test_noise_is_for_training_only() -> None:
    torch.manual_seed(0)
    fusion, given = Momef(M, D, noisy=True), parts()
    assert not torch.equal(fusion.shares(given), fusion.shares(given))
    fusion.eval()
    assert torch.equal(fusion.shares(given), fusion.shares(given))
    fusion.train()
    fusion(given).sum().backward()
    assert all(p.grad is not None for p in fusion.parameters())


def test_permuted_with_its_parameters_it_gives_the_same() -> None:
    fusion, given, order = fusion_of(), parts(), [2, 0, 3, 1]
    other = Momef(M, D)
    state: dict[str, Tensor] = dict(fusion.state_dict())
    for name in ("weight_MED", "bias_M1D"):
        for layer in (0, 2):
            state[f"experts.{layer}.{name}"] = state[f"experts.{layer}.{name}"][order]
    state["router.weight"] = state["router.weight"].view(M, M, D)[order][:, order].flatten(1)
    state["router.bias"] = state["router.bias"][order]
    other.load_state_dict(state)
    torch.testing.assert_close(other([given[m] for m in order]), fusion(given))


def test_imbalance() -> None:
    assert imbalance(torch.full((5, 4), 0.25)).item() == pytest.approx(0.0)
    one = torch.zeros(5, 4)
    one[:, 2] = 1.0
    assert imbalance(one).item() == pytest.approx(3.0)
    with_an_empty_item = torch.cat([torch.full((5, 4), 0.25), torch.zeros(1, 4)])
    assert imbalance(with_an_empty_item).item() == pytest.approx(0.0)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 4 experts"):
        Momef(M, D, top_k=5)
    with pytest.raises(ValueError, match="temperature must be positive"):
        Momef(M, D, temperature=0.0)
