"""NICL against its definition written as loops over slots."""

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from zoo.losses.nicl import PrototypeHead, next_item_nce, prototype_nce

WIDTH = 5


def make_batch(seed: int, n_users: int = 5, length: int = 5, n_items: int = 9) -> tuple[Tensor, ...]:
    """Few items and many slots, so that they repeat within and between users; one item is in no slot."""
    generator = torch.Generator().manual_seed(seed)
    slots_BS = torch.randint(1, n_items - 1, (n_users, length + 1), generator=generator)
    for user in range(n_users):
        slots_BS[user, : user % (length + 1)] = 0
    positions_P = (slots_BS[:, :-1] != 0).flatten().nonzero()[:, 0]
    text_ND = torch.randn(n_items, WIDTH, generator=generator).requires_grad_()
    image_ND = torch.randn(n_items, WIDTH, generator=generator).requires_grad_()
    return text_ND, image_ND, slots_BS, positions_P


def published(text_ND: Tensor, image_ND: Tensor, slots_BS: Tensor, temperature: float) -> Tensor:
    """The definition: every slot of another user is a negative, copies included."""
    sides = (F.normalize(text_ND, dim=1), F.normalize(image_ND, dim=1))
    losses = []
    for anchors, others in (sides, sides[::-1]):
        for user, sequence in enumerate(slots_BS.tolist()):
            for slot, item in enumerate(sequence):
                if item == 0:
                    continue
                following = sequence[slot + 1] if slot + 1 < len(sequence) else 0
                good = [anchors[item] @ others[item]]
                if following:
                    good += [anchors[item] @ others[following], anchors[item] @ anchors[following]]
                bad = [
                    anchors[item] @ side[candidate]
                    for stranger, row in enumerate(slots_BS.tolist())
                    for candidate in row
                    for side in (anchors, others)
                    if stranger != user and candidate not in (0, item, following)
                ]
                total = torch.stack(good + bad).div(temperature).exp().sum()
                losses.append(-(torch.stack(good).div(temperature).exp().sum() / total).log())
    return torch.stack(losses).mean()


def test_published_form() -> None:
    for seed in range(4):
        text_ND, image_ND, slots_BS, positions_P = make_batch(seed)
        for temperature in (1.0, 0.3):
            loss = next_item_nce(text_ND, image_ND, slots_BS, positions_P, temperature)
            expected = published(text_ND, image_ND, slots_BS, temperature)
            torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)
            ours = torch.autograd.grad(loss, (text_ND, image_ND))
            theirs = torch.autograd.grad(expected, (text_ND, image_ND))
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
            assert not ours[0][0].any()


def test_items_left_out_are_neither_anchors_nor_candidates() -> None:
    text_ND, image_ND, slots_BS, positions_P = make_batch(0)
    without_BS = slots_BS.masked_fill((slots_BS == 3) | (slots_BS == 5), 0)
    loss = next_item_nce(text_ND, image_ND, without_BS, positions_P)
    torch.testing.assert_close(loss, published(text_ND, image_ND, without_BS, 1.0), atol=1e-6, rtol=1e-5)
    (gradient_ND,) = torch.autograd.grad(loss, text_ND)
    assert not gradient_ND[[0, 3, 5]].any()
    assert next_item_nce(text_ND, image_ND, torch.zeros_like(slots_BS), positions_P).item() == 0


def test_one_user_has_positives_only() -> None:
    text_ND, image_ND, _, _ = make_batch(0)
    slots_BS = torch.tensor([[0, 1, 2, 1]])
    loss = next_item_nce(text_ND, image_ND, slots_BS, torch.tensor([1, 2]))
    assert abs(loss.item()) < 1e-6
    assert torch.isfinite(torch.autograd.grad(loss, text_ND)[0]).all()


def prototype(a_PD: Tensor, b_PD: Tensor, item_P: list[int], user_P: list[int]) -> Tensor:
    """The definition of the prototype, row by row."""
    a_PD, b_PD = F.normalize(a_PD, dim=1), F.normalize(b_PD, dim=1)
    losses = []
    for i, item in enumerate(item_P):
        if i + 1 < len(item_P) and user_P[i + 1] == user_P[i]:
            good = [i, i + 1]
            shared = (item, item_P[i + 1])
            bad = [k for k in range(len(item_P)) if item_P[k] not in shared and user_P[k] != user_P[i]]
        else:
            good, bad = [i], [k for k in range(len(item_P)) if item_P[k] != item]
        logits = a_PD[i] @ b_PD.T / 0.1
        losses.append(-(logits[good].sum() - logits[good + bad].logsumexp(0)) / len(good))
    return torch.stack(losses).mean()


def test_prototype_form() -> None:
    for seed in range(4):
        text_ND, image_ND, slots_BS, positions_P = make_batch(seed)
        item_P, user_P = slots_BS[:, :-1].flatten()[positions_P], positions_P // 5
        loss = prototype_nce(text_ND[item_P], image_ND[item_P], item_P, user_P)
        expected = prototype(text_ND[item_P], image_ND[item_P], item_P.tolist(), user_P.tolist())
        torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)


def test_prototype_without_known_items_is_nothing() -> None:
    rows = torch.randn(4, WIDTH, requires_grad=True)
    loss = prototype_nce(rows, rows, torch.zeros(4, dtype=torch.long), torch.tensor([0, 0, 1, 1]))
    assert loss.item() == 0
    assert torch.isfinite(torch.autograd.grad(loss, rows)[0]).all()


def test_prototype_leaves_unknown_items_out() -> None:
    text_PD, image_PD = torch.randn(6, WIDTH), torch.randn(6, WIDTH)
    item_P, user_P = torch.tensor([1, 2, 3, 4, 1, 0]), torch.tensor([0, 0, 0, 1, 1, 1])
    loss = prototype_nce(text_PD, image_PD, item_P, user_P)
    torch.testing.assert_close(loss, prototype_nce(text_PD[:5], image_PD[:5], item_P[:5], user_P[:5]))


def test_the_head_takes_a_single_row() -> None:
    head = PrototypeHead(WIDTH)
    assert head.training
    assert torch.isfinite(head(torch.randn(1, WIDTH))).all()
    head(torch.randn(8, WIDTH))
    assert head.norm.num_batches_tracked is not None
    assert int(head.norm.num_batches_tracked) == 1


def test_never_asks_the_device_for_a_value() -> None:
    text_ND, image_ND, slots_BS, positions_P = make_batch(0)
    with FakeTensorMode() as mode:  # its tensors have shapes only: reading a value is an error
        text_ND, image_ND = mode.from_tensor(text_ND), mode.from_tensor(image_ND)
        slots_BS, positions_P = mode.from_tensor(slots_BS), mode.from_tensor(positions_P)
        torch.autograd.backward(next_item_nce(text_ND, image_ND, slots_BS, positions_P))
        item_P, user_P = torch.arange(9), torch.arange(9) // 3
        torch.autograd.backward(prototype_nce(text_ND, image_ND, item_P, user_P))
