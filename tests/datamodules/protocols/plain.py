"""Protocols in plain loops, from their descriptions alone: what the fast ones are held to."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from datamodules.histories import EvalWindows, TrainWindows
from datamodules.protocols import Division, Frame, GlobalTime
from datamodules.sampler import EpochRows
from datamodules.tables import Report, Tables

Event = tuple[str, int]
"""Item and time."""
Line = tuple[str, list[Event]]
"""User and history, oldest first."""


class Row(NamedTuple):
    """One prediction."""

    user: str
    history: tuple[str, ...]
    target: str
    hidden: frozenset[str]


class Plain(NamedTuple):
    """What a protocol makes of lines, by names."""

    users: list[str]
    trained: set[str]
    """Items that train."""
    others: set[str]
    """Items that are only candidates and targets."""
    chunks: list[tuple[str, tuple[str, ...]]]
    """Training sequences, user by user, oldest first."""
    val: list[Row]
    test: list[Row]
    leak: tuple[int, int]
    """Test targets older than the last training interaction, and than that with their own item."""


def tables_of(lines: Sequence[Line], items: Sequence[str], times: bool = True) -> Tables:
    """Tables in memory."""
    row = {item: place for place, item in enumerate(items)}
    events = [event for _, history in lines for event in history]
    lengths = [len(history) for _, history in lines]
    return Tables(
        pl.Series([user for user, _ in lines], dtype=pl.String),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array([row[item] for item, _ in events], dtype=np.int32),
        pl.DataFrame({"item": items}, schema={"item": pl.String}),
        Report(),
        np.array([time for _, time in events], dtype=np.int64) if times else None,
    )


def random_lines(
    seed: int, n_users: int = 40, n_items: int = 30, span: int = 60
) -> tuple[list[Line], list[str]]:
    """Lines of 1 to 14 interactions with many equal times, some users twice, some items once or never."""
    rng = np.random.default_rng(seed)
    items = [f"v{number}" for number in rng.permutation(n_items)]
    lines: list[Line] = []
    for number in range(n_users):
        user = lines[int(rng.integers(number))][0] if number and rng.random() < 0.1 else f"u{number}"
        length = int(rng.integers(1, 15))
        first = int(rng.integers(span))
        times = sorted(int(time) for time in rng.integers(first, span + 10, length))
        # Squared: many interactions with few items.
        chosen = [items[int(n_items * rng.random() ** 2)] for _ in range(length)]
        lines.append((user, list(zip(chosen, times, strict=True))))
    return lines, items


def histories(lines: Sequence[Line], min_len: int) -> dict[str, list[Event]]:
    """The last long line of every user, in the order of the lines that stand."""
    standing: dict[str, list[Event]] = {}
    for user, history in lines:
        if len(history) >= min_len:
            standing.pop(user, None)
            standing[user] = history
    return standing


def cut(sequence: Sequence[Event], frame: Frame) -> list[list[Event]]:
    """What trains of a user's training interactions, in pieces."""
    width = frame.max_len + 1
    if len(sequence) < 2:
        return []
    if frame.windowing == "last" or len(sequence) <= width:
        return [list(sequence[-width:])]
    kept = sequence[len(sequence) % width :]
    return [list(kept[start : start + width]) for start in range(0, len(kept), width)]


def counted(sequence: Sequence[Event], frame: Frame) -> list[Event]:
    """What counts as trained on: with chunks also the oldest, which fill none."""
    if len(sequence) < 2:
        return []
    return list(sequence[-(frame.max_len + 1) :] if frame.windowing == "last" else sequence)


class Asked(NamedTuple):
    """A target and what is known before it."""

    user: str
    history: list[Event]
    target: Event
    taken: list[Event]
    """Hidden beside the history."""


def plain(
    users: dict[str, list[Event]],
    training: Callable[[str], list[Event]],
    val: Iterable[Asked],
    test: Iterable[Asked],
    frame: Frame,
) -> Plain:
    """Puts together what a protocol's own loop found."""
    trains = {user: counted(training(user), frame) for user in users}
    events = [event for history in trains.values() for event in history]
    trained = {item for item, _ in events}
    test = list(test)
    last = max((time for _, time in events), default=-1)
    last_of = {item: max(time for other, time in events if other == item) for item in trained}
    return Plain(
        list(users),
        trained,
        {item for history in users.values() for item, _ in history} - trained,
        [(user, names(piece)) for user in users for piece in cut(training(user), frame)],
        [row(asked, frame) for asked in val],
        [row(asked, frame) for asked in test],
        (
            sum(asked.target[1] < last for asked in test),
            sum(asked.target[1] < last_of.get(asked.target[0], -1) for asked in test),
        ),
    )


def names(events: Sequence[Event]) -> tuple[str, ...]:
    """The items."""
    return tuple(item for item, _ in events)


def row(asked: Asked, frame: Frame) -> Row:
    """What a model sees."""
    shown = names(asked.history[-frame.max_len :])
    return Row(asked.user, shown, asked.target[0], frozenset(names([*asked.history, *asked.taken])))


def plain_global_time(lines: Sequence[Line], protocol: GlobalTime, frame: Frame) -> Plain:
    """Global time: two moments, everything before the first trains."""
    users = histories(lines, frame.min_len)
    times = sorted(time for history in users.values() for _, time in history)
    valid_from = times[int(len(times) * protocol.train_share)]
    test_from = times[int(len(times) * round(protocol.train_share + protocol.valid_share, 12))]

    def asked(low: float, high: float) -> Iterable[Asked]:
        for user, history in users.items():
            places = [place for place, (_, time) in enumerate(history) if low <= time < high]
            if protocol.target == "last":
                places = places[-1:]
            if protocol.target == "first":
                places = places[:1]
            for place in places:
                if place:
                    yield Asked(user, history[:place], history[place], [])

    return plain(
        users,
        lambda user: [event for event in users[user] if event[1] < valid_from],
        asked(valid_from, test_from),
        asked(test_from, float("inf")),
        frame,
    )


def plain_cold_users(lines: Sequence[Line], held: set[str], frame: Frame) -> Plain:
    """Cold users: nothing of the held-out ones trains, everything of the others does."""
    users = histories(lines, frame.min_len)
    kept = [(user, history) for user, history in users.items() if user in held]
    return plain(
        users,
        lambda user: [] if user in held else users[user],
        [Asked(user, history[:-2], history[-2], []) for user, history in kept],
        [Asked(user, history[:-1], history[-1], []) for user, history in kept],
        frame,
    )


def plain_cold_items(lines: Sequence[Line], val: set[str], test: set[str], frame: Frame) -> Plain:
    """Cold items: no interaction with a held-out one trains or is in a history."""
    users = histories(lines, frame.min_len)

    def asked(mine: set[str]) -> Iterable[Asked]:
        for user, history in users.items():
            places = [place for place, (item, _) in enumerate(history) if item in mine]
            if not places:
                continue
            before = history[: places[-1]]
            warm = [event for event in before if event[0] not in val | test]
            if warm:
                taken = [event for event in before if event[0] in val | test]
                yield Asked(user, warm, history[places[-1]], taken)

    return plain(
        users,
        lambda user: [event for event in users[user] if event[0] not in val | test],
        asked(val),
        asked(test),
        frame,
    )


def found(division: Division, tables: Tables, frame: Frame) -> Plain:
    """The same of the fast ones, read through the data sets that models are fed from."""
    items = ["", *tables.items["item"].gather(division.kept_items).to_list()]
    users = ["", *tables.users.gather(division.kept_lines).to_list()]
    training = TrainWindows(division.windows, frame.max_len, division.n_drawn)
    chunks = training.__getitems__(EpochRows(0, np.arange(len(training))))
    rows: dict[str, list[Row]] = {}
    for stage in ("val", "test"):
        dataset = EvalWindows(division.windows, frame.max_len, stage, division.places.get(stage))
        answer = dataset.__getitems__(range(len(dataset)))
        rows[stage] = [
            Row(
                users[user],
                tuple(items[item] for item in shown if item),
                items[target],
                frozenset(items[item] for item in hidden if item),
            )
            for user, shown, target, hidden in zip(*(part.tolist() for part in answer), strict=True)
        ]
    sentence = [note for note in division.report.notes if note.startswith("Leak")]
    numbers = (
        [int(word.replace(",", "")) for word in sentence[0].split() if word[0].isdigit()] if sentence else []
    )
    return Plain(
        users[1:],
        set(items[1 : division.n_drawn]),
        set(items[division.n_drawn :]),
        [
            (users[user], tuple(items[item] for item in chunk if item))
            for user, chunk in zip(chunks.user_B.tolist(), chunks.items_BS.tolist(), strict=True)
        ],
        rows["val"],
        rows["test"],
        (numbers[0], numbers[2]) if numbers else (0, 0),
    )
