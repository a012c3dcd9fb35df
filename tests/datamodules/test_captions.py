"""Captions are a text source of their own where somebody has made them."""

from pathlib import Path

import pytest
import torch

import zoo
from datamodules.demo import Demo, write_demo
from datamodules.errors import BadTableError
from tests.data_makers.captions import write_captions
from tests.miniature import TEXT
from zoo.types import ModelNeeds

CACHED = {**TEXT, "weights": None, "cached": True, "tune": "none"}


def prepared(root: Path, needs: ModelNeeds) -> Demo:
    data = Demo(str(root), size="tiny", batch_size=16)
    data.bind(needs)
    data.prepare_data()
    data.setup()
    return data


def test_a_model_reads_titles_and_captions_by_towers_of_their_own(tmp_path: Path) -> None:
    captions = write_captions(write_demo(tmp_path / "tiny-0", "tiny"))
    model = zoo.create("crossan", width=16, text=CACHED, caption=CACHED, image=None, audio=None, video=None)
    data = prepared(tmp_path, model.needs())
    present = data.items.content(torch.arange(data.spec.n_items).numpy(), ["caption"])["caption"]["present"]
    assert present.tolist() == [name in captions for name in data.item_names]
    assert int(present.sum()) < data.spec.n_items - 1
    torch.manual_seed(0)
    model.attach(data.spec, data.items)
    batch = next(iter(data.train_dataloader()))
    model.on_fit_start()
    loss = model.training_loss(batch)["in_batch"]
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert {"text", "caption"} <= set(model.components())
    assert any("caption" in name and p.grad is not None for name, p in model.named_parameters())
    assert "items have a caption" in data.report()


def test_without_captions_the_error_says_how_to_have_some(tmp_path: Path) -> None:
    model = zoo.create("iisan", caption=CACHED, image=None)
    with pytest.raises(
        ValueError, match=r"has no captions: expected DEMO_caption\.tsv in .*item id, tab, caption"
    ):
        prepared(tmp_path, model.needs())


def test_a_file_without_tabs_is_refused(tmp_path: Path) -> None:
    folder = write_demo(tmp_path / "tiny-0", "tiny")
    (folder / "DEMO_caption.tsv").write_text("v1,a caption\n")
    with pytest.raises(
        BadTableError, match=r"Expected the columns item, caption separated by .*'v1,a caption'"
    ):
        prepared(tmp_path, ModelNeeds({}))
