"""Families of text networks through the real loader: from a folder, with their tokenizer's habits."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, XLNetTokenizer

from tests.zoo.encoders.towers import CAUSAL, TITLES, TOWERS, build, content, tower
from zoo.encoders.base import EncoderSpec
from zoo.encoders.create import create_encoder
from zoo.encoders.text import TextEncoder

from_transformers = [
    name
    for name, (modality, _) in TOWERS.items()
    if modality != "audio" and "/" not in name and not name.startswith("open_clip")
]


@pytest.mark.parametrize("name", from_transformers)
def test_a_folder_of_every_family(name: str, tmp_path: Path) -> None:
    """As the library saves them, with the classifier or the other side that released files may have."""
    encoder = build(name)
    encoder.network.save_pretrained(tmp_path)
    modality, spec = TOWERS[name]
    loaded = tower(modality, replace(spec, name=str(tmp_path), config=None))
    items = content(encoder)
    encoded, again = encoder(items), loaded(items)
    torch.testing.assert_close(again.pooled_ND, encoded.pooled_ND, rtol=0, atol=0)
    torch.testing.assert_close(again.tokens_NTD, encoded.tokens_NTD, rtol=0, atol=0)
    assert loaded.blocks() == encoder.blocks()
    fixed = [n for n, p in encoder.network.named_parameters() if not p.requires_grad]
    assert fixed == [n for n, p in loaded.network.named_parameters() if not p.requires_grad]


@pytest.fixture(scope="module")
def xlnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small XLNet with a tokenizer of its own kind."""
    folder = tmp_path_factory.mktemp("xlnet")
    special = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>"]
    letters = ["▁", *(chr(code) for code in range(ord("a"), ord("z") + 1))]
    pieces = [(piece, 0.0 if i < len(special) else -2.0) for i, piece in enumerate([*special, *letters])]
    XLNetTokenizer(vocab=pieces).save_pretrained(folder)
    torch.manual_seed(0)
    network = build("xlnet").network
    for name, parameter in network.named_parameters():
        if "seg_embed" in name or "r_s_bias" in name:
            torch.nn.init.normal_(parameter)  # large enough to be seen
    network.save_pretrained(folder)
    return folder


def test_hashed_words_for_a_trained_table_are_warned_of(
    xlnet: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        create_encoder("text", EncoderSpec(str(xlnet)))
        assert "hashed words" not in caplog.text
        create_encoder("text", EncoderSpec(str(xlnet), tokenizer="words"))
    assert "hashed words, which mean nothing to its token table" in caplog.text


def test_xlnet_ends_titles_with_its_class_token(xlnet: Path) -> None:
    encoder = tower("text", EncoderSpec(str(xlnet), max_tokens=12))
    assert isinstance(encoder, TextEncoder)
    assert not encoder.causal
    items = content(encoder)
    lengths = (items["tokens"] >= 0).sum(dim=1).tolist()
    assert lengths == [12, 8, 12]
    assert [int(row[n - 1]) for row, n in zip(items["tokens"], lengths, strict=True)] == [3, 3, 3]
    encoded = encoder(items)
    for i, n in enumerate(lengths):
        torch.testing.assert_close(encoded.pooled_ND[i], encoded.tokens_NTD[i, n - 1])
    by_name = tower("text", EncoderSpec(str(xlnet), max_tokens=12, pool="cls"))
    torch.testing.assert_close(by_name(items).pooled_ND, encoded.pooled_ND)


def test_xlnet_equals_the_library_with_padding_on_its_left(xlnet: Path) -> None:
    encoder = tower("text", EncoderSpec(str(xlnet), max_tokens=12, states="all"))
    encoded = encoder(content(encoder))
    tokenizer = AutoTokenizer.from_pretrained(xlnet)
    assert tokenizer.padding_side == "left"
    batch = tokenizer(
        [title.lower() for title in TITLES],
        truncation=True,
        max_length=12,
        padding=True,
        return_token_type_ids=True,
        return_tensors="pt",
    )
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids"}
    direct = encoder.network(**batch).last_hidden_state
    for i, real in enumerate(batch["attention_mask"].bool()):
        ours = encoded.tokens_NTD[i, : int(real.sum())]
        torch.testing.assert_close(ours, direct[i, real], atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(encoded.pooled_ND, direct[:, -1], atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(encoded.states_NKD[:, -1], encoded.pooled_ND)
    without_segments = encoder.network(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    assert not torch.allclose(without_segments[:, -1], direct[:, -1], atol=1e-4)


def test_a_stored_xlnet_pools_as_before(xlnet: Path) -> None:
    encoder = tower("text", EncoderSpec(str(xlnet), max_tokens=12))
    stored = EncoderSpec("/gone", config=encoder.config(), max_tokens=12)
    rebuilt = create_encoder("text", stored, pretrained=False).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    items = content(encoder)
    torch.testing.assert_close(rebuilt(items).pooled_ND, encoder(items).pooled_ND, rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in CAUSAL if name != "clip_text_model"])
def test_the_first_token_of_a_decoder_is_not_pooled(name: str) -> None:
    with pytest.raises(ValueError, match="the first token has seen nothing"):
        build(name, pool="cls")


def test_the_attention_window_of_a_decoder_is_kept() -> None:
    encoder = build("mistral", max_tokens=16)
    tokens = torch.arange(4, 20, dtype=torch.int32)[None]
    changed = tokens.clone()
    changed[0, 0] = 50
    far, near = (encoder({"tokens": t}).tokens_NTD[0, [15, 2]] for t in (tokens, changed))
    torch.testing.assert_close(far[0], near[0], rtol=0, atol=0)  # beyond two layers of windows of four
    assert not torch.allclose(far[1], near[1])


def test_more_tokens_than_positions_are_refused() -> None:
    for name, longest in (("roberta", 22), ("bert", 24)):  # RoBERTa counts from the padding id on
        build(name, max_tokens=longest)
        with pytest.raises(ValueError, match=rf"max_tokens={longest + 1}: '{name}' has no positions.*is 24"):
            build(name, max_tokens=longest + 1)
    assert content(build("xlnet", max_tokens=99))["tokens"].shape == (3, 99)
