"""The encoding of the catalogue, and of batches by compiled parts."""

import shutil
from itertools import islice

import pytest
import torch
import torch._dynamo

import zoo
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


def test_the_catalogue_is_trimmed_chunk_by_chunk(data: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    model.attach(data.spec, data.items)
    model.item_chunk = 16
    lengths = {c["text"]["tokens"].shape[1] for _, c in model.catalogue_chunks("Encoding", ["text", "image"])}
    assert min(lengths) < 12
    trimmed_ID = model.item_table()
    monkeypatch.setattr(MoRec, "trimmed", lambda model, content: content)
    torch.testing.assert_close(trimmed_ID, model.item_table(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mode", ["eager", pytest.param(True, marks=pytest.mark.slow)])
def test_compiled_parts_give_what_they_give_alone(data: Demo, mode: bool | str) -> None:
    if mode is True and shutil.which("g++") is None:
        pytest.skip("no compiler")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()  # of other tests in this process
    options: dict[str, object] = {"image": None, "n_blocks": 1, "dropout": 0.0}  # draws differ once compiled
    alone, compiled = make(**options), make(**options, compile=mode)
    found = []
    for model in (alone, compiled):
        torch.manual_seed(0)
        model.attach(data.spec, data.items)
        model.train()
        losses = []
        for batch in islice(data.train_dataloader(), 3):  # sizes vary: two graphs
            torch.manual_seed(0)
            loss = torch.stack(list(model.training_loss(batch).values())).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        found.append((losses, [p.grad for p in model.parameters()], model.item_table()))
    torch.testing.assert_close(found[1], found[0], atol=1e-6 if mode == "eager" else 1e-4, rtol=1e-4)
    assert compiled.encoder("text")._compiled_call_impl is not None
    assert compiled.sequence._compiled_call_impl is not None
    assert list(compiled.state_dict()) == list(alone.state_dict())
    assert not torch._dynamo.utils.counters["graph_break"]


def test_the_full_softmax_is_for_vectors_that_cost_little() -> None:
    with pytest.raises(ValueError, match=r"text and image would be encoded anew.*cached: true"):
        zoo.create("morec", loss="full")
    assert zoo.create("idrec", loss="full").needs().negatives == "none"
