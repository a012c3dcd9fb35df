"""RecBole's SASRec with its own trainer; run in RecBole's environment.

RecBole makes a row of every label, with a copy of the items before it: ``batch`` counts such rows.
"""

import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

from benchmarks.peers.histories import Histories, Ids, save_rows
from benchmarks.peers.protocol import Channel, Evaluated, Pacer, Setting, Stage, peak_mb, serve_evaluation

NAME = "histories"
EVAL_BATCH = 512
FOREVER = 1_000_000


class PacedLoader:
    """A loader that tells the pacer when its last batch has been used; one label a row."""

    def __init__(self, loader: Any, pacer: Pacer) -> None:  # noqa: ANN401
        self.loader, self.pacer = loader, pacer

    def __len__(self) -> int:
        """Batches."""
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Everything else is the loader's."""
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Interaction]:
        """Batches; what asks for the next one has done with the last."""
        for batch in self.loader:
            yield batch
            self.pacer.step(len(batch))
        self.pacer.epoch()


def write_interactions(folder: Path, histories: Histories) -> None:
    """RecBole's file; the order of a history becomes times."""
    lengths = np.diff(histories.offsets)
    user = np.repeat(np.arange(histories.n_users), lengths)
    place = np.arange(len(user)) - np.repeat(histories.offsets[:-1], lengths)
    (folder / NAME).mkdir(parents=True)
    np.savetxt(
        folder / NAME / f"{NAME}.inter",
        np.column_stack([user, histories.items, place]),
        fmt="%d",
        delimiter="\t",
        header="user_id:token\titem_id:token\ttimestamp:float",
        comments="",
    )


def make_config(setting: Setting) -> Config:
    """Its SASRec as it comes, at the sizes asked for."""
    values = {
        "data_path": str(setting.folder),
        "checkpoint_dir": str(setting.folder / "saved"),
        "use_gpu": False,
        "gpu_id": "",
        "show_progress": False,
        "state": "ERROR",
        "seed": setting.seed,
        "epochs": FOREVER,
        "train_batch_size": setting.batch,
        "eval_batch_size": EVAL_BATCH,
        "learning_rate": setting.lr,
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "hidden_size": setting.width,
        "inner_size": 4 * setting.width,
        "n_layers": setting.blocks,
        "n_heads": setting.heads,
        "hidden_dropout_prob": setting.dropout,
        "attn_dropout_prob": setting.dropout,
        "MAX_ITEM_LIST_LENGTH": setting.max_len,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
        "metrics": ["Recall", "NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "metric_decimal_place": 8,
    }
    return Config(model="SASRec", dataset=NAME, config_dict=values)


def score(model: SASRec, dataset: Any, histories: Histories, item_BL: Ids) -> npt.NDArray[np.float32]:  # noqa: ANN401
    """Scores (B, items); -inf where there is no such item. Histories come padded on the left."""
    tokens = np.asarray(dataset.field2id_token[dataset.iid_field][1:]).astype(np.int64)
    row_I = np.zeros(histories.n_items + 1, dtype=np.int64)  # padding is the number after the last item
    row_I[tokens] = np.arange(1, len(tokens) + 1)
    scores = np.full((len(item_BL), histories.n_items), -np.inf, dtype=np.float32)
    with torch.no_grad():
        for start in range(0, len(item_BL), EVAL_BATCH):
            rows_BL = torch.from_numpy(row_I[item_BL[start : start + EVAL_BATCH]])
            length_B = (rows_BL != 0).sum(1)
            # RecBole pads on the right.
            place_BL = (
                torch.arange(rows_BL.shape[1]) + (rows_BL.shape[1] - length_B)[:, None]
            ) % rows_BL.shape[1]
            batch = Interaction({"item_id_list": rows_BL.gather(1, place_BL), "item_length": length_B})
            found = model.full_sort_predict(batch).numpy()
            scores[start : start + EVAL_BATCH, tokens] = found[:, 1:]
    return scores


def save_state(path: Path, trainer: Trainer, loader: Any) -> None:  # noqa: ANN401
    """Writes weights, optimiser and random states between epochs; RecBole's own files lack the last."""
    state = {
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "order": loader.generator.get_state(),
    }
    torch.save(state, path)


def load_state(path: Path, trainer: Trainer, loader: Any) -> None:  # noqa: ANN401
    """Reads what ``save_state`` wrote."""
    state = torch.load(path, weights_only=True)
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    loader.generator.set_state(state["order"])


def main() -> None:
    """Trains or evaluates as told."""
    before = peak_mb()
    setting = Setting.parse()
    del sys.argv[1:]  # RecBole reads them too
    channel = Channel.of_process()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    histories = Histories.load(setting.data)
    write_interactions(setting.folder, histories)
    config = make_config(setting)
    logging.disable(logging.WARNING)
    init_seed(config["seed"], reproducibility=True)
    dataset = create_dataset(config)
    train, _, test = data_preparation(config, dataset)
    model = SASRec(config, train.dataset)
    trainer = Trainer(config, model)

    def save_scores(stage: Stage, users: int, path: Path) -> None:
        training = model.training
        model.eval()
        item_BL = histories.padded(stage, setting.max_len, histories.n_items, users)
        save_rows(path, score(model, dataset, histories, item_BL))
        model.train(training)

    about = {"parameters": sum(p.numel() for p in model.parameters()), "before_mb": before}
    if setting.resume:
        load_state(Path(setting.resume), trainer, train)
    if setting.mode == "train":
        pacer = Pacer(channel, save_scores, lambda path: save_state(path, trainer, train))
        pacer.begin(**about)
        trainer.fit(PacedLoader(train, pacer), saved=False, verbose=False)

    def evaluate() -> Evaluated:
        return Evaluated(histories.n_users, trainer.evaluate(test, load_best_model=False))

    trainer.eval_collector.data_collect(train)
    serve_evaluation(channel, evaluate, save_scores, **about)


if __name__ == "__main__":
    main()
