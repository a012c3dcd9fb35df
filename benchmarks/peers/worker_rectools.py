"""RecTools' SASRecModel with its own Lightning trainer; run in RecTools' environment."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import NDCG, HitRate, calc_metrics
from rectools.models import SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet

from benchmarks.peers.histories import Histories, Ids, save_rows
from benchmarks.peers.protocol import Channel, Evaluated, Pacer, Setting, Stage, serve_evaluation

EVAL_BATCH = 512
MODEL_WEIGHT = 1.0


class Paced(Callback):
    """Tells the pacer how training goes."""

    def __init__(self, pacer: Pacer, about: dict[str, object]) -> None:
        self.pacer, self.about = pacer, about

    def __deepcopy__(self, memo: object) -> "Paced":
        """RecTools copies its trainer before it trains; pipes cannot be copied."""
        return self

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
        """Waits for the first request."""
        self.pacer.begin(parameters=sum(p.numel() for p in pl_module.parameters()), **self.about)

    def on_train_batch_end(
        self,
        trainer: object,
        pl_module: object,
        outputs: object,
        batch: dict[str, torch.Tensor],
        batch_idx: int,
    ) -> None:
        """Labels are positions with a next item."""
        self.pacer.step(int((batch["y"] != 0).sum()))

    def on_train_epoch_end(self, trainer: object, pl_module: object) -> None:
        """An epoch is over."""
        self.pacer.epoch()


def make_trainer(epochs: int, steps: int, *callbacks: Callback) -> Trainer:
    """Without logger, bars and checkpoints, which cost time."""
    return Trainer(
        max_epochs=epochs,
        max_steps=steps,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def make_frame(rows: list[Ids]) -> pd.DataFrame:
    """Interactions as RecTools takes them; the order of a history becomes days."""
    lengths = np.array([len(row) for row in rows])
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(rows)), lengths),
            Columns.Item: np.concatenate(rows),
            Columns.Weight: MODEL_WEIGHT,
            Columns.Datetime: pd.Timestamp("2020-01-01") + pd.to_timedelta(place, unit="D"),
        }
    )


def make_model(setting: Setting) -> SASRecModel:
    """Its SASRec on ids alone, with full softmax."""
    return SASRecModel(
        n_blocks=setting.blocks,
        n_heads=setting.heads,
        n_factors=setting.width,
        dropout_rate=setting.dropout,
        session_max_len=setting.max_len,
        batch_size=setting.batch,
        lr=setting.lr,
        loss="softmax",
        item_net_block_types=(IdEmbeddingsItemNet,),
        recommend_batch_size=EVAL_BATCH,
        recommend_torch_device="cpu",
    )


def score(model: SASRecModel, histories: Histories, item_BL: Ids) -> npt.NDArray[np.float32]:
    """Scores (B, items); -inf where training had no such item."""
    known = model.data_preparator.item_id_map
    row_I = np.zeros(histories.n_items + 1, dtype=np.int64)  # padding and unknown items are RecTools' row 0
    items = model.data_preparator.get_known_item_ids().astype(np.int64)
    row_I[items] = known.convert_to_internal(items)
    network = model.torch_model
    scores = np.full((len(item_BL), histories.n_items), -np.inf, dtype=np.float32)
    with torch.no_grad():
        table = network.item_model.get_all_embeddings()
        for rows in np.array_split(np.arange(len(item_BL)), max(1, len(item_BL) // EVAL_BATCH)):
            states = network.encode_sessions({"x": torch.from_numpy(row_I[item_BL[rows]])}, table)
            scores[np.ix_(rows, items)] = (states[:, -1] @ table[row_I[items]].T).numpy()
    return scores


def main() -> None:
    """Trains or evaluates as told."""
    setting = Setting.parse()
    channel = Channel.of_process()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    seed_everything(setting.seed)
    histories = Histories.load(setting.data)
    model = make_model(setting)

    def save_scores(stage: Stage, users: int, path: Path) -> None:
        training = model.torch_model.training
        model.torch_model.eval()
        item_BL = histories.padded(stage, setting.max_len, histories.n_items, users)
        save_rows(path, score(model, histories, item_BL))
        model.torch_model.train(training)

    train = Dataset.construct(make_frame(histories.read("train")))
    if setting.mode == "train":
        model._trainer = make_trainer(-1, -1, Paced(Pacer(channel, save_scores), {}))
        model.fit(train)
    model._trainer = make_trainer(1, 1)
    model.fit(train)
    seen = Dataset.construct(make_frame(histories.read("test")))
    users = np.arange(histories.n_users)
    targets = make_frame([np.array([item]) for item in histories.target("test")])

    def evaluate() -> Evaluated:
        reco = model.recommend(users, seen, k=10, filter_viewed=True, on_unsupported_targets="ignore")
        metrics = {"recall@10": HitRate(10), "ndcg@10": NDCG(10, divide_by_achievable=True)}
        return Evaluated(len(users), calc_metrics(metrics, reco, targets))

    serve_evaluation(channel, evaluate, save_scores)


if __name__ == "__main__":
    main()
