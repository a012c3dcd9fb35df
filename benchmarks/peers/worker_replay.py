"""RePlay's SasRec, trained by its Lightning module on its Parquet data module; run in RePlay's environment.

Variant ``trimmed`` uses what RePlay offers against padding but does not do by itself: batches trimmed to
their longest history, and a backbone that runs over groups of similar length.
"""

import warnings
from pathlib import Path

import lightning
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import ParquetModule, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.nn.lightning import LightningModule
from replay.nn.lightning.callback import ComputeMetricsCallback
from replay.nn.lightning.optimizer import OptimizerFactory
from replay.nn.lightning.postprocessor import SeenItemsFilter
from replay.nn.sequential import LengthBucketedQueryEncoder, SasRec
from replay.nn.transform import (
    GroupTransform,
    NextTokenTransform,
    RenameTransform,
    TargetAwareAdaptiveTrimTransform,
    UnsqueezeTransform,
)
from replay.nn.transform.template import make_default_sasrec_transforms

from benchmarks.peers.histories import Histories, Ids, save_rows
from benchmarks.peers.protocol import Channel, Evaluated, Pacer, Setting, Stage, serve_evaluation

ITEM = "item_id"
NONE = -1
"""Fills rows of seen items."""
BUCKET = 32
"""Rows of the trimmed variant's backbone."""
EVAL_BATCH = 512


class Paced(lightning.Callback):
    """Tells the pacer how training goes."""

    def __init__(self, pacer: Pacer, **about: object) -> None:
        self.pacer, self.about = pacer, about

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Waits for the first request."""
        self.pacer.begin(**self.about)

    def on_train_batch_end(
        self,
        trainer: object,
        pl_module: object,
        outputs: object,
        batch: dict[str, torch.Tensor],
        batch_idx: int,
    ) -> None:
        """Labels are positions where an item follows an item."""
        real = batch["padding_mask"] & batch["target_padding_mask"].squeeze(-1)
        self.pacer.step(int(real.sum()))

    def on_train_epoch_end(self, trainer: object, pl_module: object) -> None:
        """An epoch is over."""
        self.pacer.epoch()


def write_parquet(path: Path, columns: dict[str, list[Ids] | Ids]) -> None:
    """Lists of items, and numbers."""
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)


def make_schema(histories: Histories, width: int) -> TensorSchema:
    """One sequence of item ids; padding has the number after the last item, as RePlay wants it."""
    return TensorSchema(
        [
            TensorFeatureInfo(
                ITEM,
                is_seq=True,
                feature_type=FeatureType.CATEGORICAL,
                embedding_dim=width,
                padding_value=histories.n_items,
                cardinality=histories.n_items,
                feature_hint=FeatureHint.ITEM_ID,
                feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, ITEM)],
            )
        ]
    )


def trimmed_transforms(schema: TensorSchema) -> dict[str, list[torch.nn.Module]]:
    """The default ones with a trim to the longest history between."""
    transforms = make_default_sasrec_transforms(schema)
    train = [
        NextTokenTransform(label_name=ITEM, shift=1),
        RenameTransform({f"{ITEM}_mask": "padding_mask", "positive_labels_mask": "target_padding_mask"}),
        TargetAwareAdaptiveTrimTransform([ITEM, "positive_labels"]),
        UnsqueezeTransform("target_padding_mask", -1),
        UnsqueezeTransform("positive_labels", -1),
        GroupTransform({"feature_tensors": schema.names}),
    ]
    return {**transforms, "train": train}


def make_data(setting: Setting, histories: Histories, schema: TensorSchema) -> ParquetModule:
    """Its data module over files of training and test histories."""
    train, test = setting.folder / "train.parquet", setting.folder / "test.parquet"
    write_parquet(train, {ITEM: histories.read("train")})
    read = histories.read("test")
    write_parquet(
        test, {ITEM: read, "seen_ids": read, "ground_truth": histories.target("test")[:, None].tolist()}
    )
    padding, longest = histories.n_items, max(map(len, read))
    columns = {
        "train": {ITEM: {"shape": setting.max_len + 1, "padding": padding}},
        "test": {
            ITEM: {"shape": setting.max_len, "padding": padding},
            "seen_ids": {"shape": longest, "padding": NONE},
            "ground_truth": {"shape": 1, "padding": NONE},
        },
    }
    make = trimmed_transforms if setting.variant == "trimmed" else make_default_sasrec_transforms
    return ParquetModule(
        batch_size={"train": setting.batch, "test": EVAL_BATCH},
        metadata=columns,
        transforms=make(schema),
        train_path=str(train),
        test_path=str(test),
    )


def make_model(setting: Setting, schema: TensorSchema) -> LightningModule:
    """Its SasRec with full cross-entropy, and Adam."""
    model = SasRec.from_params(
        schema,
        embedding_dim=setting.width,
        num_heads=setting.heads,
        num_blocks=setting.blocks,
        max_sequence_length=setting.max_len,
        dropout=setting.dropout,
    )
    if setting.variant == "trimmed":
        model.body.encoder = LengthBucketedQueryEncoder(model.body.encoder, BUCKET)
    return LightningModule(model, OptimizerFactory("adam", learning_rate=setting.lr))


def make_trainer(*callbacks: lightning.Callback) -> lightning.Trainer:
    """Without logger, bars and checkpoints, which cost time."""
    return lightning.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        callbacks=list(callbacks),
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def main() -> None:
    """Trains or evaluates as told."""
    setting = Setting.parse()
    channel = Channel.of_process()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    lightning.seed_everything(setting.seed)
    histories = Histories.load(setting.data)
    schema = make_schema(histories, setting.width)
    data, model = make_data(setting, histories, schema), make_model(setting, schema)

    def save_scores(stage: Stage, users: int, path: Path) -> None:
        training = model.training
        model.eval()
        item_BL = torch.from_numpy(histories.padded(stage, setting.max_len, histories.n_items, users))
        with torch.no_grad():
            parts = []
            for start in range(0, len(item_BL), EVAL_BATCH):
                rows_BL = item_BL[start : start + EVAL_BATCH]
                batch = {"feature_tensors": {ITEM: rows_BL}, "padding_mask": rows_BL != histories.n_items}
                parts.append(model(batch)["logits"])
        save_rows(path, torch.cat(parts)[:, : histories.n_items].numpy().astype(np.float32))
        model.train(training)

    about = {"parameters": sum(p.numel() for p in model.parameters())}
    if setting.mode == "train":
        make_trainer(Paced(Pacer(channel, save_scores), **about)).fit(model, data)

    def evaluate() -> Evaluated:
        metrics = ComputeMetricsCallback(
            metrics=["ndcg", "recall"],
            ks=[10],
            postprocessors=[SeenItemsFilter(histories.n_items)],
            item_count=histories.n_items,
            verbose=False,
        )
        found = make_trainer(metrics).test(model, data, verbose=False)[0]
        return Evaluated(histories.n_users, {name: float(value) for name, value in found.items()})

    serve_evaluation(channel, evaluate, save_scores, **about)


if __name__ == "__main__":
    main()
