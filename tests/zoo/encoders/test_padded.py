"""IISAN-Versa's mean of decoders over all positions, padding included, against the plain computation."""

import pytest
import torch

from zoo.encoders.base import EncoderSpec
from zoo.encoders.create import create_encoder
from zoo.encoders.trim import trim_tokens
from zoo.features import makers

CONFIG = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 7,
}
LLAMA = {"name": "llama", "tokenizer": "words", "config": CONFIG, "states": "all"}
TITLES = ["one", "a somewhat longer title", "of " * 40]


def test_padding_is_averaged_in_as_id_0_and_nothing_is_masked() -> None:
    torch.manual_seed(0)
    tower = create_encoder("text", EncoderSpec(**LLAMA, pool="legacy_padded")).eval()  # type: ignore[arg-type]
    content = {f: torch.from_numpy(a) for f, a in tower.transform()(TITLES).items()}
    ids_NT = content["tokens"].long().clamp(min=0)  # -1 marks padding; here it is id 0, whatever pad_token_id
    assert ids_NT.shape == (3, 30)
    with torch.no_grad():
        found = tower(content)
        network = tower.network
        assert callable(network)
        expected = network(input_ids=ids_NT, output_hidden_states=True).hidden_states
        short = tower(trim_tokens({"tokens": content["tokens"][:2]}))
    assert found.states_NKD is not None
    for k, state_NTD in enumerate(expected):
        torch.testing.assert_close(found.states_NKD[:, k], state_NTD.mean(dim=1))
    torch.testing.assert_close(found.pooled_ND, expected[-1].mean(dim=1))
    torch.testing.assert_close(short.pooled_ND, found.pooled_ND[:2])


def test_it_differs_from_the_masked_mean_in_short_titles_only_and_in_the_key() -> None:
    towers = {}
    for pool in ("mean", "legacy_padded"):
        torch.manual_seed(0)
        towers[pool] = create_encoder("text", EncoderSpec(**LLAMA, pool=pool)).eval()  # type: ignore[arg-type]
    content = {f: torch.from_numpy(a) for f, a in towers["mean"].transform()(TITLES).items()}
    with torch.no_grad():
        masked, padded = (tower(content).pooled_ND for tower in towers.values())
    assert (masked - padded)[:2].abs().max() > 1e-2
    torch.testing.assert_close(masked[2], padded[2])
    keys = [
        makers("states", EncoderSpec(**LLAMA, pool=pool), tower)  # type: ignore[arg-type]
        for pool, tower in towers.items()
    ]
    assert keys[0]["weights"] == keys[1]["weights"]
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("modality", "spec"),
    [
        (
            "text",
            {"name": "bert", "tokenizer": "words", "config": {"hidden_size": 32, "num_attention_heads": 2}},
        ),
        ("image", {"name": "timm/convnext_atto", "config": {}}),
    ],
)
def test_towers_that_are_no_decoders_refuse_it(modality: str, spec: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"pool: legacy_padded of .* Use default or mean"):
        create_encoder(modality, EncoderSpec(**spec, pool="legacy_padded"))  # type: ignore[arg-type]
