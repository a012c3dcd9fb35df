"""Values that the authors' modules of IISAN and IISAN-Versa gave, and sizes computed from them.

Theirs ran in float32, whose rounding shows in the last digit at width 768; here it is float64.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Literal, NamedTuple, cast

import pytest
import torch
from torch import Tensor, nn

from zoo.encoders.base import Encoded, EncoderSpec
from zoo.fusion.momef import ConcatLinear
from zoo.fusion.sanb import SANB, Linears
from zoo.fusion.side import InterTower, SideNetwork
from zoo.losses.next_item import next_item_loss
from zoo.models.iisan_versa import IISANVersa
from zoo.sequence.block import SASRecBlock
from zoo.sequence.sasrec import SASRec
from zoo.types import CatalogSpec, SequenceBatch

WIDTH, BOTTLENECK, MAX_LEN, N_ITEMS = 8, 4, 4, 13
"""N_ITEMS counts the padding row."""
IDS_BS = torch.tensor([[0, 1, 2, 3, 4], [5, 2, 6, 7, 8], [0, 0, 9, 3, 10]])
Heads = Literal["iisan", "versa"]
ORDER = ("image", "text", "image_text")
"""The authors' order of towers."""


class Tower(NamedTuple):
    """A frozen encoder, and the blocks after which a state is kept, counted from 0."""

    width: int
    depth: int
    after: list[int]

    @property
    def states(self) -> list[int]:
        return [0, *(block + 1 for block in self.after)]


class Vector(NamedTuple):
    """One set of golden values."""

    text: Tower
    image: Tower
    heads: Heads
    slots: int
    loss: float
    gates: dict[str, float]
    item: list[float]


BASE = Tower(768, 12, [1, 3, 5, 7, 9, 11])
VECTORS = {
    "V1": Vector(
        text=BASE,
        image=BASE,
        heads="iisan",
        slots=146,
        loss=2.143450,
        gates={},
        item=[1.357812, -2.3664, 3.753124, -3.011014, 2.277357, -0.285372, -1.552496, 2.783326],
    ),
    "V2": Vector(
        text=Tower(12, 6, [1, 3, 5]),
        image=Tower(8, 4, [1, 3]),
        heads="versa",
        slots=97,
        loss=2.124544,
        gates={"image": -2.022528e-02, "text": -5.8200e-05, "image_text": -1.9752e-04},
        item=[0.027363, -0.491052, -0.251498, -0.022181, -0.405636, 0.363358, -0.178392, 0.364342],
    ),
    "V3": Vector(
        text=Tower(8, 4, [1, 3]),
        image=Tower(12, 6, [1, 3, 5]),
        heads="versa",
        slots=97,
        loss=2.159005,
        gates={"image": 5.154866e-02, "text": 3.596622e-04, "image_text": 1.37214e-02},
        item=[0.050866, -0.467348, -0.315546, 0.063668, -0.488432, 0.41913, -0.190993, 0.330124],
    ),
    "V4": Vector(
        text=Tower(12, 4, [1, 3]),
        image=Tower(8, 4, [1, 3]),
        heads="versa",
        slots=92,
        loss=2.154534,
        gates={"image": 2.235318e-04, "text": -2.15475e-03, "image_text": 1.008708e-02},
        item=[0.397237, 0.276308, 0.173788, 0.488871, -0.072556, 0.320793, -0.135264, -0.139339],
    ),
}


class WithoutTowers(IISANVersa):
    """The model on given states."""

    shapes: Mapping[str, tuple[int, int]]

    def state_shapes(self) -> dict[str, tuple[int, int]]:
        return dict(self.shapes)


def built(
    shapes: Mapping[str, tuple[int, int]], heads: Heads, width: int, k: int, max_len: int
) -> WithoutTowers:
    frozen = EncoderSpec("bert", tune="none")
    model = WithoutTowers(bottleneck=k, heads=heads, width=width, text=frozen, image=frozen)
    model.shapes = shapes
    model.build_parts(CatalogSpec(N_ITEMS, 4, {}, {}, max_len=max_len))
    return model


def sasrec_slots(sasrec: SASRec) -> Iterator[Tensor]:
    """Positions, first norm, then each block, in the authors' order."""
    yield from (sasrec.position_LD, sasrec.norm.weight, sasrec.norm.bias)
    for block in sasrec.blocks:
        assert isinstance(block, SASRecBlock)
        yield from block.query_key_value.weight.chunk(3)
        yield from (block.output.weight, block.attention_norm.weight, block.attention_norm.bias)
        yield from (block.feed_in.weight, block.feed_in.bias, block.feed_out.weight, block.feed_out.bias)
        yield from (block.feed_norm.weight, block.feed_norm.bias)


def sanb_slots(side: SideNetwork, name: str) -> Iterator[Tensor]:
    """The blocks of one tower from its stack; matrices as ``nn.Linear`` would hold them."""
    for names, stack in zip(side.together.values(), side.blocks, strict=True):
        if name in names:
            g = names.index(name)
            for block in cast(nn.ModuleList, stack):
                assert isinstance(block, SANB)
                yield from (block.down_GDk[g].mT, block.down_bias_G1k[g, 0])
                yield from (block.up_GkD[g].mT, block.up_bias_G1D[g, 0])


def slots(model: IISANVersa) -> Iterator[Tensor]:
    """Every parameter, as a view, in the authors' order."""
    side, fusion = model.side, model.fusion
    assert isinstance(model.sequence, SASRec)
    assert isinstance(side, SideNetwork)
    assert isinstance(fusion, ConcatLinear)
    yield from sasrec_slots(model.sequence)
    for name in ORDER:
        yield from sanb_slots(side, name)
    inter = side.tower("image_text")
    assert isinstance(inter, InterTower)
    for transform in inter.transforms.values():
        assert isinstance(transform, Linears)
        for weight_ED, bias_1D in zip(transform.weight_MED, transform.bias_M1D, strict=True):
            yield from (weight_ED.mT, bias_1D[0])
    for layer in (0, 1):
        for name in ORDER:
            linear = cast(nn.Sequential, model.heads[name])[layer]
            yield from (cast(Tensor, linear.weight), cast(Tensor, linear.bias))
    for name in ORDER:
        gates_K = side.tower(name).gate_K
        assert gates_K is not None
        yield from gates_K.unbind()
    # Theirs reads the image first, ours the text.
    yield from (fusion.linear.weight, fusion.linear.bias)


@torch.no_grad()
def fill(model: IISANVersa) -> int:
    """Slot n gets 0.3 sin(0.7 n + 0.37 k + 0.1) at element k; norms 1 + half of it. Returns the slots."""
    norms = {id(m.weight) for m in model.modules() if isinstance(m, nn.LayerNorm)}
    n = -1
    for n, slot in enumerate(slots(model)):
        k = torch.arange(slot.numel(), dtype=torch.float64)
        value = (0.3 * torch.sin(0.7 * n + 0.37 * k + 0.1)).reshape(slot.shape)
        if slot.ndim == 2 and 768 in slot.shape:
            value = value * 0.3
        slot.copy_(1 + 0.5 * value if id(slot) in norms else value)
    weight = cast(ConcatLinear, model.fusion).linear.weight
    image_DD, text_DD, inter_DD = weight.clone().chunk(3, dim=1)
    weight.copy_(torch.cat([text_DD, image_DD, inter_DD], dim=1))
    return n + 1


def states(vector: Vector) -> dict[str, Tensor]:
    """Kept states (13, K, D): cos(0.07 k) of images, sin(0.11 k) of texts, k flat over all layers."""

    def of(tower: Tower, wave: Literal["cos", "sin"], step: float) -> Tensor:
        shape = (N_ITEMS, tower.depth + 1, tower.width)
        k = torch.arange(math.prod(shape), dtype=torch.float64)
        all_NKD = (torch.cos if wave == "cos" else torch.sin)(step * k).reshape(shape)
        all_NKD[0] = 0.0
        return all_NKD[:, tower.states]

    return {"text": of(vector.text, "sin", 0.11), "image": of(vector.image, "cos", 0.07)}


def golden_model(vector: Vector) -> IISANVersa:
    kept = {"text": vector.text, "image": vector.image}
    shapes = {m: (len(tower.states), tower.width) for m, tower in kept.items()}
    model = built(shapes, vector.heads, WIDTH, BOTTLENECK, MAX_LEN).double()
    assert fill(model) == vector.slots
    return model.eval()


def items(model: IISANVersa, states: Mapping[str, Tensor]) -> Tensor:
    """Vectors of all 13 rows, the padding row zero."""
    everywhere = torch.ones(N_ITEMS - 1, dtype=torch.bool)
    parts = {m: Encoded(s[1:, 0], states_NKD=s[1:], present_N=everywhere) for m, s in states.items()}
    item_ND = model.fuse(parts)
    return torch.cat([item_ND.new_zeros(1, WIDTH), item_ND])


def loss_of(model: IISANVersa, item_ID: Tensor) -> Tensor:
    """Every row of the catalogue stands for itself; the popularity of item i is i / 78."""
    log_pop_I = (torch.arange(N_ITEMS) / 78.0).clamp(min=1e-30).log()
    log_pop_I[0] = 0.0
    batch = SequenceBatch(
        user_B=torch.arange(1, 4),
        items_BS=IDS_BS,
        negatives_BL=None,
        unique_N=torch.arange(N_ITEMS),
        slots_BS=IDS_BS,
        negative_slots_BL=None,
        content={},
        log_pop_BS=log_pop_I[IDS_BS],
        positions_P=(IDS_BS[:, :-1] != 0).flatten().nonzero()[:, 0],
    )
    return next_item_loss("in_batch", model.user_states(item_ID, batch), item_ID, batch)


@pytest.mark.parametrize("name", VECTORS)
def test_values(name: str) -> None:
    vector = VECTORS[name]
    model = golden_model(vector)
    item_ID = items(model, states(vector))
    loss = loss_of(model, item_ID)
    loss.backward()  # type: ignore[no-untyped-call]
    side = cast(SideNetwork, model.side)
    gradients = {
        tower: cast(Tensor, cast(Tensor, side.tower(tower).gate_K).grad)[0] for tower in vector.gates
    }
    assert loss.item() == pytest.approx(vector.loss, abs=1e-6)
    assert item_ID[1].tolist() == pytest.approx(vector.item, abs=2.5e-6)
    for tower, expected in vector.gates.items():
        assert gradients[tower].item() == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_scores() -> None:
    vector = VECTORS["V2"]
    model = golden_model(vector)
    item_ID = items(model, states(vector))
    history_BL = torch.tensor([[0, 1, 2, 3]])
    user_D = model.sequence(item_ID[history_BL], history_BL != 0)[0, -1]
    expected = [0.23274, 0.49805, 0.20092, 0.49134, 0.24413, 0.41646]
    expected += [0.33838, 0.31542, 0.44222, 0.22758, 0.50167, 0.19963]
    assert (item_ID[1:] @ user_D).tolist() == pytest.approx(expected, abs=6e-6)


@pytest.mark.parametrize("name", VECTORS)
@torch.no_grad()
def test_the_padding_item_changes_no_loss(name: str) -> None:
    vector = VECTORS[name]
    model, clean = golden_model(vector), states(vector)
    dirty = {m: s.clone() for m, s in clean.items()}
    for states_NKD in dirty.values():
        states_NKD[0] = 100.0
    assert torch.equal(loss_of(model, items(model, clean)), loss_of(model, items(model, dirty)))


LLAMA_70B, EVA_18B, VIT = (7, 8192), (7, 5120), (7, 768)


@pytest.mark.parametrize(
    ("heads", "text", "image", "expected"),
    [
        ("iisan", VIT, VIT, 4_113_877),
        ("versa", VIT, VIT, 2_941_013),
        ("versa", (7, 1024), VIT, 8_698_965),
        ("versa", (7, 4096), VIT, 28_184_661),
        ("versa", LLAMA_70B, VIT, 54_165_589),
        ("versa", LLAMA_70B, EVA_18B, 337_802_837),
    ],
)
def test_trainable_parameters(
    heads: Heads, text: tuple[int, int], image: tuple[int, int], expected: int
) -> None:
    with torch.device("meta"):
        model = built({"text": text, "image": image}, heads, width=64, k=64, max_len=10)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert sum(counts.values()) == expected
    assert counts["sequence"] == 100_224
    assert counts["fusion"] == 12_352
    if text == LLAMA_70B and image == VIT:
        inter = cast(SideNetwork, model.side).tower("image_text")
        assert sum(p.numel() for name, p in inter.named_parameters() if "transforms" in name) == 44_045_568


def test_slots_are_views_of_all_parameters() -> None:
    model = golden_model(VECTORS["V2"])
    found = list(slots(model))
    assert sum(slot.numel() for slot in found) == sum(p.numel() for p in model.parameters())
    assert all(one.data_ptr() != other.data_ptr() for one, other in pairwise(found))
