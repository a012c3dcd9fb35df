"""A worker that trains nothing: it counts labels, and its scores get better until its third epoch.

``variant`` says what goes wrong: ``ends`` ends before it answers, ``stops`` while it trains, ``tires`` in the
third epoch that a process trains; ``diverges`` scores NaN.
"""

import sys
from pathlib import Path

import numpy as np

from benchmarks.peers.histories import Histories, save_rows
from benchmarks.peers.protocol import Channel, Evaluated, Pacer, Setting, Stage, serve_evaluation

BATCHES = 3
BEST = 3
ORDER = "order.txt"


def main() -> None:
    """Takes its steps, noting them in a file beside the data."""
    setting = Setting.parse()
    channel = Channel.of_process()
    print("this is no answer")
    if setting.variant == "ends":
        sys.exit("out of luck")
    histories, diverges = Histories.load(setting.data), setting.variant == "diverges"
    first = epoch = int(Path(setting.resume).read_text("utf-8")) if setting.resume else 0

    def save_scores(stage: Stage, users: int, path: Path) -> None:
        scores = np.random.default_rng(0).random((users, histories.n_items), dtype=np.float32)
        # The first users' targets are ahead of everything, more of them in every epoch up to the best.
        known = users * (BEST - abs(BEST - epoch)) // (2 * BEST)
        scores[np.arange(known), histories.target(stage)[:known]] = np.nan if diverges else 2.0
        save_rows(path, scores)

    def save(path: Path) -> None:
        path.write_text(str(epoch), encoding="utf-8")

    def evaluate() -> Evaluated:
        return Evaluated(histories.n_users, {"ndcg@10": 0.0, "recall@10": 0.0})

    if setting.mode == "evaluate":
        serve_evaluation(channel, evaluate, save_scores, parameters=1)
    pacer = Pacer(channel, save_scores, save)
    pacer.begin(parameters=1)
    while True:
        epoch += 1
        if setting.variant == "tires" and epoch == first + 3:
            sys.exit("tired")
        for _ in range(BATCHES):
            with open(setting.data.with_name(ORDER), "a", encoding="utf-8") as order:
                order.write(setting.folder.name[-1])
            if setting.variant == "stops":
                raise MemoryError("all of it")
            sum(range(20_000))  # the processor's clock is coarse
            pacer.step(setting.batch)
        pacer.epoch()


if __name__ == "__main__":
    main()
