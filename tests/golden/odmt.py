"""The set-up of ODMT's golden values: three users, given token features, a fill rule by tensor number.

The authors' modules were run once on this set-up in float64 with dropout off.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from zoo.encoders.base import Encoded, Encoder, EncoderSpec
from zoo.fusion.id_aware import Version
from zoo.models.odmt import ODMT
from zoo.types import CatalogSpec, Content, ContentTransform, SequenceBatch

N_ITEMS, WIDTH, MAX_LEN = 13, 8, 4
"""N_ITEMS counts the padding row."""
IDS_BS = torch.tensor([[0, 1, 2, 3, 4], [5, 2, 6, 7, 8], [0, 0, 9, 3, 10]])
TEXT = EncoderSpec(
    "bert",
    tokenizer="words",
    config={
        "vocab_size": 8,
        "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    },
)
IMAGE = EncoderSpec(
    "timm/vit_tiny_patch16_224",
    image_size=16,
    config={"patch_size": 16, "embed_dim": WIDTH, "depth": 1, "num_heads": 2},
)


class Given(Encoder):
    """An encoder whose tokens are the specification's; content is the item's row."""

    width = token_width = WIDTH
    depth = 0

    def __init__(self, token_ITD: Tensor, mask_IT: Tensor | None = None) -> None:
        super().__init__()
        self.token_ITD, self.mask_IT = token_ITD, mask_IT

    def forward(self, content: Content) -> Encoded:
        """Looks the rows up."""
        rows_N = content["rows"]
        mask_NT = None if self.mask_IT is None else self.mask_IT[rows_N]
        return Encoded(self.token_ITD[rows_N, 0], self.token_ITD[rows_N], mask_NT, None, content["present"])

    def transform(self) -> ContentTransform:
        """None: nothing is prepared."""
        raise NotImplementedError

    def config(self) -> dict[str, object]:
        """None."""
        return {}

    def blocks(self) -> list[list[str]]:
        """None."""
        return []


def content_of(rows_N: Tensor) -> dict[str, Content]:
    """Content of given rows: the rows."""
    part = {"rows": rows_N, "present": rows_N > 0}
    return {"text": part, "image": part}


class Rows:
    """A catalogue whose content is the row."""

    n_items = N_ITEMS
    counts_I = np.bincount(IDS_BS.flatten().numpy(), minlength=N_ITEMS)

    def content(self, ids_N: object, modalities: object) -> dict[str, Content]:
        """The rows."""
        return content_of(torch.as_tensor(ids_N))

    def feature_folder(self, modality: str, key: str) -> str | None:
        """Nowhere."""
        return None


def wave(number: int, shape: torch.Size, norm: bool = False) -> Tensor:
    """The n-th tensor: 0.3 sin(0.7 n + 0.37 k + 0.1) at flat index k; norms 1 + half of it."""
    k = torch.arange(shape.numel(), dtype=torch.float64)
    value = (0.3 * torch.sin(0.7 * number + 0.37 * k + 0.1)).reshape(shape)
    return 1 + value / 2 if norm else value


def block_tensors(block: nn.Module) -> Iterator[tuple[Tensor, bool]]:
    """Tensors of a transformer block in the specification's order, and whether they scale a norm."""
    packed, output = block.get_submodule("query_key_value"), block.get_submodule("output")
    assert isinstance(packed.weight, Tensor)
    assert isinstance(output.weight, Tensor)
    for matrix_DD in packed.weight.chunk(3):
        yield matrix_DD, False
    yield output.weight, False
    for name in ("attention_norm", "feed_in", "feed_out", "feed_norm"):
        layer = block.get_submodule(name)
        assert isinstance(layer.weight, Tensor)
        assert isinstance(layer.bias, Tensor)
        yield layer.weight, name.endswith("norm")
        yield layer.bias, False


def numbered(model: ODMT) -> Iterator[tuple[Tensor, bool] | None]:
    """All tensors in the specification's order; None where it numbers one that nothing uses."""
    for view in ("id", "text", "image"):
        encoder = model.sequence.get_submodule(f"backbones.{view}")
        assert isinstance(encoder.position_LD, Tensor)
        yield encoder.position_LD, False
        yield encoder.get_parameter("norm.weight"), True
        yield encoder.get_parameter("norm.bias"), False
        for n in range(2):
            yield from block_tensors(encoder.get_submodule(f"blocks.{n}"))
    yield model.get_parameter("encoders.item_id.table.weight"), False
    for view in ("item_id", "text", "image"):
        yield model.get_parameter(f"heads.{view}.linear.weight"), False
        yield model.get_parameter(f"heads.{view}.linear.bias"), False
    for view in ("id", "text", "image"):
        for layer in (0, 2):
            yield model.get_parameter(f"fusion.heads.{view}.{layer}.weight"), False
            yield model.get_parameter(f"fusion.heads.{view}.{layer}.bias"), False
    yield from (None, None, None)
    for n in range(2):
        yield from block_tensors(model.get_submodule(f"fusion.transformer.blocks.{n}"))


def filled_model(version: Version = "v1", alpha: float = 20.0, tau: float = 0.3) -> ODMT:
    """ODMT with the specification's parameters and features, float64, in evaluation mode."""
    model = ODMT(
        width=WIDTH,
        n_blocks=2,
        n_heads=2,
        text=TEXT,
        image=IMAGE,
        init=0,
        version=version,
        alpha=alpha,
        tau=tau,
    )
    model.attach(CatalogSpec(N_ITEMS, 4, {}, {}, max_len=MAX_LEN), Rows())
    model.double().eval()
    items_I1, tokens_T = torch.arange(N_ITEMS)[:, None], torch.arange(6)
    text_ITD = torch.sin(0.11 * torch.arange(N_ITEMS * 6 * WIDTH, dtype=torch.float64))
    image_ITD = torch.cos(0.07 * torch.arange(N_ITEMS * 50 * WIDTH, dtype=torch.float64))
    mask_IT = (tokens_T < 2 + items_I1 % 5) & (items_I1 > 0)
    model.encoders["text"] = Given(text_ITD.reshape(N_ITEMS, 6, WIDTH), mask_IT)
    model.encoders["image"] = Given(image_ITD.reshape(N_ITEMS, 50, WIDTH))
    with torch.no_grad():
        count = 0
        for number, entry in enumerate(numbered(model)):
            count += 1
            if entry is not None:
                entry[0].copy_(wave(number, entry[0].shape, entry[1]))
        model.get_parameter("encoders.item_id.table.weight")[0] = 0.0  # as in every run; nothing reads it
    assert count == 127
    return model


def train_batch() -> SequenceBatch:
    """The batch; the popularity of item i is i / 78."""
    unique_N, slots_BS = torch.unique(IDS_BS, return_inverse=True)
    log_pop_BS = torch.where(IDS_BS > 0, IDS_BS.double() / 78, 1.0).log()
    return SequenceBatch(
        user_B=torch.arange(1, 4),
        items_BS=IDS_BS,
        negatives_BL=None,
        unique_N=unique_N,
        slots_BS=slots_BS,
        negative_slots_BL=None,
        content=content_of(unique_N),
        log_pop_BS=log_pop_BS,
        positions_P=(IDS_BS[:, :-1] != 0).flatten().nonzero()[:, 0],
    )
