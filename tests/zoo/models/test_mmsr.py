"""MMSR: its fusions on real small towers, what feeds them, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from datamodules.collate import SequenceCollate
from datamodules.histories import TrainRows
from zoo.encoders.base import Encoder, EncoderSpec
from zoo.encoders.create import create_encoder
from zoo.encoders.tower import mean_tokens
from zoo.fusion.create import fusion_needs_tokens
from zoo.fusion.project import MapProject, Project
from zoo.models.mmsr import MMSR
from zoo.sequence.gru4rec import GRU4Rec
from zoo.types import CatalogSpec, Content, SequenceBatch

WIDTH, LENGTH, N_ITEMS = 8, 6, 40
FUSIONS = [
    *("sum", "concat", "film", "gated", "sum_dnn", "concat_dnn", "film_dnn", "gated_dnn"),
    *("co_att", "merge_attn"),
]
TEXT: dict[str, Any] = {
    "name": "bert",
    "tokenizer": "words",
    "max_tokens": 6,
    "pool": "mean_all",
    "config": {
        "vocab_size": 64,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "max_position_embeddings": 16,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
}
VIT: dict[str, Any] = {
    "name": "timm/vit_tiny_patch16_224",
    "image_size": 8,
    "pool": "mean_all",
    "config": {"patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2},
}
CNN: dict[str, Any] = {
    "name": "timm/resnet18",
    "image_size": 40,
    "pool": "mean_all",
    "config": {"channels": (8, 8, 8, 16), "layers": (1, 1, 1, 1), "stem_width": 8},
}


class Catalogue:
    """Random titles and covers; the last five items have neither."""

    n_items = N_ITEMS
    counts_I = np.ones(N_ITEMS, dtype=np.int64)

    def __init__(self, side: int) -> None:
        draw = torch.Generator().manual_seed(0)
        tokens = torch.randint(4, 64, (N_ITEMS, 6), generator=draw, dtype=torch.int32)
        tokens[:, 0], tokens[::2, 4:] = 2, -1
        pixels = torch.randint(0, 256, (N_ITEMS, 3, side, side), generator=draw, dtype=torch.uint8)
        present_N = torch.arange(N_ITEMS) < N_ITEMS - 5
        self.parts: dict[str, Content] = {
            "text": {"tokens": tokens, "present": present_N},
            "image": {"pixels": pixels, "present": present_N},
        }

    def content(self, ids_N: Any, modalities: Any) -> dict[str, Content]:  # noqa: ANN401
        """Of the given rows."""
        return {m: {f: t[torch.as_tensor(ids_N)] for f, t in self.parts[m].items()} for m in modalities}

    def feature_folder(self, modality: str, key: str) -> None:
        """None."""


def built(**options: Any) -> tuple[MMSR, SequenceBatch]:  # noqa: ANN401
    """A small model with both towers unless told otherwise, and a batch with a repeated item and padding."""
    torch.manual_seed(0)
    arguments = {"width": WIDTH, "text": TEXT, "image": VIT, "lr": 1e-2, **options}
    model = MMSR(**arguments)
    image = model.specs.get("image")
    catalogue = Catalogue(8 if image is None else image.image_size or 8)
    model.attach(CatalogSpec(N_ITEMS, 9, {}, {}, max_len=LENGTH), catalogue)
    for stand_in in model.stand_ins.values():
        nn.init.normal_(stand_in)  # at zero, where they start, a layer norm is steep
    draw = np.random.default_rng(0)
    items_BS = draw.integers(1, N_ITEMS, (8, LENGTH + 1))
    items_BS[1, :4], items_BS[2, :2] = 0, 0
    negatives_BL = draw.integers(1, N_ITEMS, (8, LENGTH)) * (items_BS[:, :-1] != 0)
    rows = TrainRows(np.arange(1, 9), items_BS, negatives_BL)
    return model, SequenceCollate(catalogue, tuple(model.specs))(rows)


def loss_of(model: MMSR, batch: SequenceBatch) -> torch.Tensor:
    (value,) = model.training_loss(batch).values()
    return value


@pytest.mark.parametrize("image", [VIT, CNN], ids=["vit", "cnn"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_trains_a_step(fusion: str, image: dict[str, Any]) -> None:
    model, batch = built(fusion=fusion, image=image, dropout=0.0)
    # Downhill by the plain gradient: a step this small cannot miss.
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    first = loss_of(model, batch)
    first.backward()  # type: ignore[no-untyped-call]
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []
    optimizer.step()
    assert loss_of(model, batch) < first


@pytest.mark.parametrize(
    ("parts", "fusion"),
    [
        ({"image": None}, None),
        ({"text": None}, None),
        ({"text": None, "image": None, "item_id": True}, None),
        ({"item_id": True}, "merge_attn"),
        ({"item_id": True, "fusion": "concat_dnn"}, "concat_dnn"),
        ({"image": None, "item_id": True, "fusion": "co_att"}, "co_att"),
    ],
)
def test_other_parts(parts: dict[str, Any], fusion: str | None) -> None:
    model, batch = built(**parts)
    assert hasattr(model, "fusion") is (fusion is not None)
    assert model.uses_tokens is (fusion is not None and fusion_needs_tokens(fusion))
    loss_of(model, batch).backward()  # type: ignore[no-untyped-call]
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    table_ID = model.item_table()
    assert table_ID.shape == (N_ITEMS, WIDTH)
    assert not table_ID[0].any()


def test_a_single_modality_is_the_mean_of_its_projected_tokens() -> None:
    model, batch = built(image=None)
    model.eval()
    text = {field: value[1:] for field, value in batch.content["text"].items()}
    tokens = model.encoder("text")(text)
    head = model.heads["text"]
    assert isinstance(head, Project)
    assert tokens.tokens_NTD is not None
    expected_ND = mean_tokens(head.linear(tokens.tokens_NTD), tokens.mask_NT)
    item_ND = model.encode_items(batch.unique_N, batch.content)[1:]
    present_N = text["present"]
    torch.testing.assert_close(item_ND[present_N], expected_ND[present_N])


@pytest.mark.parametrize(
    ("fusion", "image", "kind", "tokens"),
    [
        ("merge_attn", VIT, Project, True),
        ("merge_attn", CNN, MapProject, True),
        ("co_att", CNN, MapProject, True),
        ("gated", CNN, Project, False),
    ],
)
def test_how_images_are_projected(
    fusion: str, image: dict[str, Any], kind: type[nn.Module], tokens: bool
) -> None:
    model, batch = built(fusion=fusion, image=image)
    assert type(model.heads["image"]) is kind
    part = model.heads["image"](model.encode_parts(batch.unique_N, batch.content)["image"])
    assert (part.tokens_NTD is not None) is tokens
    if image is CNN and tokens:
        assert part.tokens_NTD.shape[1:] == (4, WIDTH)  # a map of 2 x 2
        assert (part.tokens_NTD >= 0).all()


def test_options_reach_the_fusion_and_the_backbone() -> None:
    model, batch = built(
        fusion="co_att",
        fusion_args={"n_heads": 4, "ffn": 5, "n_layers": 2, "token_types": False},
        backbone="gru4rec",
        backbone_args={"padding": "vector"},
    )
    assert isinstance(model.sequence, GRU4Rec)
    assert "fusion.type_MD" not in dict(model.named_parameters())
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes["fusion.layers.1.feeds.0.feed_in.weight"] == (5, WIDTH)
    assert torch.isfinite(loss_of(model, batch))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "merge"}, r"no fusion named 'merge'. Did you mean merge_attn"),
        ({"fusion_args": {"heads": 2}}, r"'merge_attn' has no option 'heads'. Did you mean n_heads"),
        ({"fusion_args": {"n_heads": 3}}, r"n_heads=3 does not divide width=8"),
        ({"fusion": "film", "item_id": True}, r"'film' takes exactly two parts .* the model has 3"),
        ({"image": None, "fusion": "attention"}, r"no fusion named 'attention'"),
    ],
)
def test_refused_before_anything_is_built(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MMSR(**{"width": WIDTH, "text": TEXT, "image": VIT, **options})


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_tower_without_tokens_is_refused_where_tokens_are_read(
    fusion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pooled_only(modality: str, spec: EncoderSpec, pretrained: bool = True) -> Encoder:
        tower = create_encoder(modality, spec, pretrained)
        tower.token_width = 0 if modality == "image" else tower.token_width
        return tower

    monkeypatch.setattr("zoo.content.create_encoder", pooled_only)
    if not fusion_needs_tokens(fusion):
        assert built(fusion=fusion)[0].n_parts == 2
        return
    with pytest.raises(ValueError, match=rf"tokens.*'{VIT['name']}'.*image.*(sum|gated)"):
        built(fusion=fusion)


def test_the_papers_rates() -> None:
    model, _ = built(lr=1e-4)
    groups = {group["name"]: group for group in model.parameter_groups()}
    assert groups["model"]["weight_decay"] == 0.1
    for modality in ("text", "image"):
        assert groups[f"encoders.{modality}"]["weight_decay"] == 0.0
        assert groups[f"encoders.{modality}"]["lr"] == groups["model"]["lr"] == 1e-4


def test_defaults_are_the_papers() -> None:
    model = MMSR(item_id=True)
    assert (model.width, model.loss, model.fusion_name) == (768, "bce", "merge_attn")
    assert (model.lr, model.weight_decay, model.encoder_weight_decay) == (1e-4, 0.1, 0.0)
    assert (model.n_blocks, model.n_heads, model.dropout, model.backbone) == (2, 2, 0.1, "sasrec")
