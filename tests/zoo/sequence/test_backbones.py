"""What holds for every backbone by name."""

from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.sequence.base import SequenceBackbone, is_masked
from zoo.sequence.create import BACKBONES, Backbone, create_backbone

WIDTH, MAX_LEN = 16, 7
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("sasrec", {}),
    ("sasrec", {"form": "paper"}),
    ("gru4rec", {}),
    ("gru4rec", {"project": True}),
    ("gru4rec", {"padding": "vector"}),
    ("nextitnet", {}),
    ("nextitnet", {"padding": "vector"}),
    ("bert4rec", {}),
    ("bert4rec", {"form": "rec"}),
]
every = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)


def make(name: str, options: dict[str, Any]) -> Backbone:
    torch.manual_seed(0)
    return create_backbone(name, WIDTH, MAX_LEN, n_blocks=2, n_heads=2, dropout=0.1, **options).eval()


def make_histories() -> tuple[Tensor, Tensor]:
    """Item vectors of three users with 7, 4 and 1 real slots."""
    real_BL = torch.arange(MAX_LEN) >= MAX_LEN - torch.tensor([[7], [4], [1]])
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, MAX_LEN, WIDTH, generator=generator) * real_BL[..., None], real_BL


@every
def test_fits_the_protocol(name: str, options: dict[str, Any]) -> None:
    fitting: SequenceBackbone = make(name, options)
    item_BLD, real_BL = make_histories()
    assert fitting(item_BLD, real_BL).shape == item_BLD.shape
    assert fitting.max_len == MAX_LEN
    assert is_masked(make(name, options)) is (name == "bert4rec")


@every
def test_padded_content_changes_nothing(name: str, options: dict[str, Any]) -> None:
    backbone, (item_BLD, real_BL) = make(name, options), make_histories()
    # Not even infinities, where no attention multiplies them by zero.
    noise = torch.inf if name in ("gru4rec", "nextitnet") else 100.0
    noise_BLD = torch.where(real_BL[..., None], item_BLD, noise)
    torch.testing.assert_close(
        backbone(noise_BLD, real_BL)[real_BL], backbone(item_BLD, real_BL)[real_BL], atol=0, rtol=0
    )


@every
def test_trimming_padding_changes_nothing(name: str, options: dict[str, Any]) -> None:
    backbone, (item_BLD, real_BL) = make(name, options), make_histories()
    short_BLD = backbone(item_BLD[1:, 3:], real_BL[1:, 3:])
    long_BLD = backbone(item_BLD, real_BL)[1:, 3:]
    real_BL = real_BL[1:, 3:]
    torch.testing.assert_close(short_BLD[real_BL], long_BLD[real_BL], atol=1e-6, rtol=1e-6)


@every
def test_later_items_and_earlier_states(name: str, options: dict[str, Any]) -> None:
    backbone, (item_BLD, real_BL) = make(name, options), make_histories()
    changed_BLD = item_BLD.clone()
    changed_BLD[:, -1] *= -1
    gap_BLD = (backbone(item_BLD, real_BL) - backbone(changed_BLD, real_BL)).abs()
    assert gap_BLD[:, -1].max() > 1e-3
    assert (gap_BLD[0, :-1].max() > 1e-3) == is_masked(backbone)


@every
def test_every_parameter_gets_a_gradient(name: str, options: dict[str, Any]) -> None:
    backbone, (item_BLD, real_BL) = make(name, options), make_histories()
    if is_masked(backbone):
        item_BLD = backbone.hide(item_BLD, real_BL & (torch.arange(MAX_LEN) == MAX_LEN - 2))
        item_BLD, real_BL = (
            torch.cat([item_BLD, item_BLD[:, -1:]], 1),
            torch.cat([real_BL, real_BL[:, -1:]], 1),
        )
    backbone = backbone.train()
    (backbone(item_BLD, real_BL)[real_BL] * torch.arange(WIDTH)).sum().backward()
    idle = [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@every
def test_all_padded_histories_stay_finite(name: str, options: dict[str, Any]) -> None:
    item_BLD = torch.zeros(2, MAX_LEN, WIDTH, requires_grad=True)
    user_BLD = make(name, options).train()(item_BLD, torch.zeros(2, MAX_LEN, dtype=torch.bool))
    user_BLD.sum().backward()
    assert user_BLD.isfinite().all()
    assert item_BLD.grad is not None
    assert item_BLD.grad.isfinite().all()


@every
def test_too_long_histories_are_refused(name: str, options: dict[str, Any]) -> None:
    backbone = make(name, options)
    slots = MAX_LEN + is_masked(backbone)
    with pytest.raises(ValueError, match=f"{slots} positions but got histories of length {slots + 1}"):
        backbone(torch.zeros(1, slots + 1, WIDTH), torch.ones(1, slots + 1, dtype=torch.bool))


@every
def test_state_dicts_come_back(name: str, options: dict[str, Any]) -> None:
    backbone, (item_BLD, real_BL) = make(name, options), make_histories()
    torch.manual_seed(5)
    other = create_backbone(name, WIDTH, MAX_LEN, 2, 2, 0.1, **options).eval()
    assert not torch.equal(other(item_BLD, real_BL), backbone(item_BLD, real_BL))
    other.load_state_dict(backbone.state_dict())
    assert torch.equal(other(item_BLD, real_BL), backbone(item_BLD, real_BL))


@pytest.mark.parametrize("dtype", [torch.bfloat16])
@every
def test_half_precision(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    backbone, (item_BLD, real_BL) = make(name, options), make_histories()
    with torch.autocast("cpu", dtype=dtype):
        half_BLD = backbone(item_BLD, real_BL)
    full_BLD = backbone(item_BLD, real_BL)
    torch.testing.assert_close(half_BLD[real_BL].float(), full_BLD[real_BL], atol=0.1, rtol=0.1)


def test_unknown_names_say_what_exists() -> None:
    with pytest.raises(ValueError, match=r"'gru4'.*gru4rec.*Known: sasrec, gru4rec, nextitnet, bert4rec"):
        create_backbone("gru4", WIDTH, MAX_LEN, 2, 2, 0.1)
    assert list(BACKBONES) == ["sasrec", "gru4rec", "nextitnet", "bert4rec"]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("sasrec", "form"),
        ("gru4rec", "padding, project"),
        ("nextitnet", "padding"),
        ("bert4rec", "mask_prob"),
    ],
)
def test_unknown_options_say_what_exists(name: str, known: str) -> None:
    with pytest.raises(ValueError, match=f"no option 'n_heds'; its options are: {known}"):
        create_backbone(name, WIDTH, MAX_LEN, 2, 2, 0.1, n_heds=1)


def test_the_shared_arguments_are_no_options() -> None:
    with pytest.raises(ValueError, match="no option 'n_layers'"):
        create_backbone("gru4rec", WIDTH, MAX_LEN, 2, 2, 0.1, n_layers=1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sasrec", {"form": "own"}, "SASRec: form is one of morec, paper; found 'own'"),
        ("gru4rec", {"padding": "zero"}, "GRU4Rec: padding is one of skip, vector; found 'zero'"),
        ("nextitnet", {"padding": None}, "NextItNet: padding is one of skip, vector; found None"),
        ("bert4rec", {"form": "hf"}, "BERT4Rec: form is one of own, rec; found 'hf'"),
        ("bert4rec", {"mask_prob": 0.0}, "mask_prob is a share between 0 and 1; found 0.0"),
    ],
)
def test_wrong_values_say_what_is_right(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, options)
