"""NineRec's names for the parts of its backbones beside SASRec, on the set-up that it shares with MoRec."""

from torch import Tensor

from tests.golden import sasrec as golden
from zoo.sequence.gru4rec import GRU4Rec
from zoo.sequence.nextitnet import NextItNet

MASK_ID = golden.N_ITEMS
"""The mask of BERT4Rec is the item after the last one."""
MASKED_INPUTS = [[3, 10, 2, 7, 10], [0, 0, 4, 10, 8], [0, 10, 9, 4, 6]]
MASKED_TARGETS = {(0, 1): (5, 4), (0, 4): (1, 8), (1, 3): (6, 1), (2, 1): (2, 7)}
"""(User, slot) -> (hidden item, its negative)."""


def gru_shapes() -> dict[str, tuple[int, ...]]:
    """The 5 tensors of the ID model on a GRU."""
    shapes: dict[str, tuple[int, ...]] = {"id_embedding.weight": (golden.N_ITEMS, golden.WIDTH)}
    for k in range(2):
        for part in ("ih", "hh"):
            shapes[f"user_encoder.gru_layers.weight_{part}_l{k}"] = (3 * golden.WIDTH, golden.WIDTH)
    return shapes


def gru_state(filled: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict of our ``GRU4Rec`` with ``padding: vector``."""
    layers = {
        name.replace("user_encoder.gru_layers", "gru"): tensor
        for name, tensor in filled.items()
        if "gru_layers" in name
    }
    return layers | {"padded.pad_D": filled["id_embedding.weight"][0]}


def nextitnet_shapes() -> dict[str, tuple[int, ...]]:
    """The 33 tensors of the ID model on NextItNet."""
    shapes: dict[str, tuple[int, ...]] = {"id_embedding.weight": (golden.N_ITEMS, golden.WIDTH)}
    for k in range(4):
        block = f"user_encoder.residual_blocks.{k}"
        for layer in (1, 2):
            shapes[f"{block}.conv{layer}.weight"] = (golden.WIDTH, golden.WIDTH, 1, 3)
            for name in (f"conv{layer}.bias", f"ln{layer}.weight", f"ln{layer}.bias"):
                shapes[f"{block}.{name}"] = (golden.WIDTH,)
    return shapes


def nextitnet_state(filled: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict of our ``NextItNet`` with ``padding: vector``."""
    state = {"padded.pad_D": filled["id_embedding.weight"][0]}
    for name, tensor in filled.items():
        if "residual_blocks" not in name:
            continue
        _, _, k, layer, part = name.split(".")
        if layer.startswith("conv"):
            ours = f"blocks.{k}.convs.{int(layer[-1]) - 1}.conv.{part}"
            state[ours] = tensor[:, :, 0] if part == "weight" else tensor
        else:
            state[f"blocks.{k}.norms.{int(layer[-1]) - 1}.{part}"] = tensor
    return state


def bert4rec_shapes() -> dict[str, tuple[int, ...]]:
    """The 28 tensors of the ID model on BERT4Rec: one item, the mask, and one position more than SASRec's."""
    shapes = golden.id_model_shapes()
    shapes["id_embedding.weight"] = (golden.N_ITEMS + 1, golden.WIDTH)
    shapes["user_encoder.transformer_encoder.position_embedding.weight"] = (golden.MAX_LEN + 1, golden.WIDTH)
    return shapes


def bert4rec_state(filled: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict of our ``BERT4Rec``."""
    state = golden.sasrec_state(filled)
    state["position_SD"] = state.pop("position_LD")
    return state | {"mask_D": filled["id_embedding.weight"][MASK_ID]}


def filled_gru() -> tuple[GRU4Rec, Tensor]:
    """The GRU with the specification's parameters, and the item table."""
    shapes = gru_shapes()
    assert len(shapes) == 5
    filled = golden.fill(shapes)
    backbone = GRU4Rec(golden.WIDTH, golden.MAX_LEN, padding="vector").eval()
    backbone.load_state_dict(gru_state(filled))
    return backbone, filled["id_embedding.weight"]


def filled_nextitnet() -> tuple[NextItNet, Tensor]:
    """NextItNet with the specification's parameters, and the item table."""
    shapes = nextitnet_shapes()
    assert len(shapes) == 33
    filled = golden.fill(shapes)
    backbone = NextItNet(golden.WIDTH, golden.MAX_LEN, padding="vector").eval()
    backbone.load_state_dict(nextitnet_state(filled))
    return backbone, filled["id_embedding.weight"]
