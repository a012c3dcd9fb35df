"""What goes to the device with a batch, and what the catalogue's encoding makes of it."""

import pytest
import torch

from datamodules.demo import Demo
from tests.miniature import IMAGE, TEXT
from zoo.models.morec import MoRec


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    module = Demo(root=str(tmp_path_factory.mktemp("demo")), size="tiny", batch_size=8)
    module.bind(make().needs())
    module.prepare_data()
    module.setup("fit")
    return module


def make(**options: object) -> MoRec:
    torch.manual_seed(0)
    return MoRec(**{"width": 8, "text": {**TEXT, "max_tokens": 24}, "image": IMAGE, **options})  # type: ignore[arg-type]


def test_titles_go_to_the_device_as_long_as_the_longest(data: Demo) -> None:
    model = make()
    model.attach(data.spec, data.items)
    batch = next(iter(data.train_dataloader()))
    trimmed = model.on_before_batch_transfer(batch, 0)
    tokens_NT = batch.content["text"]["tokens"]
    longest = int((tokens_NT >= 0).sum(dim=1).max())
    assert tokens_NT.shape[1] == 24 > longest
    assert trimmed.content["text"]["tokens"].shape == (len(tokens_NT), longest)
    assert trimmed.content["image"] is batch.content["image"]
    model.eval()
    whole, short = model.training_loss(batch), model.training_loss(trimmed)
    torch.testing.assert_close(short, whole, atol=1e-6, rtol=1e-6)


def test_the_catalogue_is_trimmed_chunk_by_chunk(data: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    model.attach(data.spec, data.items)
    model.item_chunk = 16
    lengths = {c["text"]["tokens"].shape[1] for _, c in model.catalogue_chunks("Encoding", ["text", "image"])}
    assert max(lengths) < 24
    trimmed_ID = model.item_table()
    monkeypatch.setattr(MoRec, "trimmed", lambda model, content: content)
    torch.testing.assert_close(trimmed_ID, model.item_table(), atol=1e-6, rtol=1e-5)
