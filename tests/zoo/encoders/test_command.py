"""Encoders named on the command line: what is refused, and in which words."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import torch
import yaml
from huggingface_hub import HfApi

import cli
from tests.zoo.encoders.towers import TEXT


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    """What a run sets for its process (threads, seeds in the environment) does not reach other tests."""
    threads = torch.get_num_threads()
    environment = dict(os.environ)
    yield
    torch.set_num_threads(threads)
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


def words_of(options: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a fit that ends at once says."""
    demo = ["--data", "demo", "--data.size", "tiny", "--data.root", str(folder / "demo")]
    line = ["fit", "--model", "morec", *demo, "--run_dir", str(folder / "run"), *options]
    with pytest.raises(SystemExit) as stop:
        cli.main(line)
    said = capsys.readouterr()
    ended_well = stop.value.code in (0, None)
    return said.out + said.err if ended_well else f"{stop.value.code} {said.err}"


def test_a_field_of_an_encoder_is_set_to_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model.image.config", "null", "--model.image.name=timm/resnet18", "--print_config"]
    text = words_of(options, tmp_path, capsys)
    image = yaml.safe_load(text[text.index("model:") :])["model"]["init_args"]["image"]
    assert image["name"] == "timm/resnet18"
    assert image["config"] is None
    assert image["image_size"] == 32


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--model.image.name=resnet50", "--model.image.config=null"], "timm's list has timm/resnet50"),
        (["--model.text.name=/no/bert", "--model.text.config=null"], "There is no folder '/no/bert'"),
        (["--model.text.config.hiden_size=3"], "['hiden_size'] are not settings of BertConfig"),
        (["--model.image.name=bert", f"--model.image.config={TEXT['bert']}"], "cannot be the image encoder"),
        (["--model.text.name=timm/resnet18"], "timm has image networks only"),
        (["--model.image.mask_ratio=0.5"], "only a ViT-MAE of transformers drops patches"),
    ],
)
def test_what_is_wrong_with_an_encoder_is_one_line(
    options: list[str],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise ConnectionError("no route")

    monkeypatch.setattr(HfApi, "model_info", refuse)
    assert expected in words_of(options, tmp_path, capsys)
