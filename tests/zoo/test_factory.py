from typing import Any

import pytest
import torch

import zoo
from tests.miniature import TEXT
from zoo.encoders.base import Encoded
from zoo.factory import instantiate
from zoo.models.morec import MoRec
from zoo.types import CatalogSpec, Content


class Catalogue:
    """Four items with titles."""

    n_items = 5
    counts_I = torch.arange(5).numpy()

    def feature_folder(self, modality: str, key: str) -> None:
        """No disk."""

    def content(self, ids_N: Any, modalities: Any) -> dict[str, Content]:  # noqa: ANN401
        """Tokens that follow the ids."""
        tokens = torch.from_numpy(ids_N)[:, None].expand(-1, 3).int().clone()
        return {"text": {"tokens": tokens, "present": torch.from_numpy(ids_N) > 0}}


def test_create_takes_the_config_and_merges_overrides() -> None:
    model = zoo.create("MoRec", lr=0.5, text={"max_tokens": 7})
    assert isinstance(model, MoRec)
    assert model.lr == 0.5
    assert model.specs["text"].max_tokens == 7
    assert model.specs["text"].tokenizer == "words"
    assert set(model.specs) == {"text", "image"}


def test_hyper_parameters_are_plain_values() -> None:
    model = zoo.create("morec", image=None)
    assert model.hparams["text"]["name"] == "bert"
    assert model.hparams["image"] is None


def test_an_unknown_argument_is_an_error() -> None:
    with pytest.raises(TypeError, match="widht"):
        zoo.create("morec", widht=3)


def test_a_model_without_anything_to_tell_items_apart_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one of text, image"):
        instantiate({"class_path": "zoo.models.morec.MoRec"})


def test_groups_keep_the_heads_out_of_the_towers() -> None:
    model = MoRec(width=8, text=TEXT, lr=1.0, encoder_lr=0.1, weight_decay=0.5)
    model.attach(CatalogSpec(5, 3, {}, {}, max_len=4), Catalogue())
    groups = {group["name"]: group for group in model.parameter_groups()}
    assert groups["encoders.text"]["lr"] == 0.1
    assert groups["model"]["lr"] == 1.0
    assert {group["weight_decay"] for group in groups.values()} == {0.5}
    head = {id(p) for p in model.heads.parameters()}
    assert head <= {id(p) for p in groups["model"]["params"]}
    assert not head & {id(p) for p in groups["encoders.text"]["params"]}


def test_a_missing_title_becomes_the_learned_stand_in() -> None:
    model = MoRec(width=8, text=TEXT)
    model.attach(CatalogSpec(5, 3, {}, {}, max_len=4), Catalogue())
    model.eval()
    ids = torch.arange(5)
    content = Catalogue().content(ids.numpy(), ("text",))
    content["text"]["present"][2] = False
    torch.nn.init.normal_(model.stand_ins["text"])
    with torch.no_grad():
        full, gone = model.encode_items(ids, Catalogue().content(ids.numpy(), ("text",))), None
        gone = model.encode_items(ids, content)
        expected = model.heads["text"](model.stand_ins["text"][None])[0]
    assert torch.allclose(gone[2], expected)
    assert torch.equal(gone[[0, 1, 3, 4]], full[[0, 1, 3, 4]])


def test_cat_puts_the_id_before_the_modality() -> None:
    model = MoRec(width=8, text=TEXT, item_id=True, fusion="cat")
    model.attach(CatalogSpec(5, 3, {}, {}, max_len=4), Catalogue())
    model.eval()
    ids = torch.arange(5)
    with torch.no_grad():
        id_ND = model.encoders["item_id"](ids[1:])
        content = {k: v[1:] for k, v in Catalogue().content(ids.numpy(), ("text",))["text"].items()}
        text_ND = model.heads["text"](model.encoder("text")(content).pooled_ND)
        expected = model.fusion([Encoded(id_ND), Encoded(text_ND)])
        found = model.encode_items(ids, Catalogue().content(ids.numpy(), ("text",)))
    assert torch.allclose(found[1:], expected)
    linear = next(m for m in model.fusion.modules() if isinstance(m, torch.nn.Linear))
    by_hand = torch.nn.functional.gelu(torch.cat([id_ND, text_ND], dim=1) @ linear.weight.T + linear.bias)
    assert torch.allclose(found[1:], by_hand, atol=1e-6)
