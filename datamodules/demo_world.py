"""The demo catalogue's world: items with latent attributes, and users who walk over them.

Every item has a topic (told by its title), a colour, shape and texture (told by its cover), a sound and a
motion. A user's next item is drawn in three steps, so that a million users cost no users x items matrix:

1. its cell (topic, colour, shape, texture), with probability proportional to the cell's popularity times one
   factor per attribute: the value the previous item leads to, the user's favourite value, or anything;
2. the sound and motion inside that cell, likewise;
3. the item, by popularity.

The ``even`` platform makes its cells of topic, colour, sound and motion.

A share of the interactions is noise: any item, and the next step starts from the one before it. Some items
are released shortly before the end of the recorded time. Favourites depend on gender and age.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from datamodules.demo_rules import LAWS, PLATFORMS, RULES, Law, Platform, Rules, size_of

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CHUNK = 8192
"""Users drawn together; part of what a seed means."""
TRIES = 4
"""Draws before a repeated item is accepted."""
END = 1_700_000_000
"""Last second of the recorded time."""
SPAN = 100 * 86_400
"""Recorded time in seconds."""
AGES = (18, 25, 35, 50)
"""Age bands, named by their youngest member."""


@dataclass(frozen=True)
class World:
    """Sizes and strengths of a demo catalogue."""

    users: int
    items: int
    shortest: int = 5
    longest: int = 16
    mean_extra: float = 4.5
    """Mean interactions beyond the shortest, before the cut at the longest."""
    noise: float = 0.06
    cold: float = 0.08
    """Share of items released late."""
    cold_boost: float = 2.0
    """Popularity of the late items relative to what they would have."""
    release: float = 0.96
    """When the late items appear, as a share of the recorded time."""
    tail: float = 0.6
    """Standard deviation of an item's log popularity."""
    visible_tail: float = 0.4
    """The same for each value of an attribute: the part of popularity that content tells."""
    tilt: float = 1.5
    """How much gender and age shift favourites, in log odds."""


class Items(NamedTuple):
    """Latents of the items; the arrays' first dimension is the number of items, row 0 is the first item."""

    attributes: dict[str, Ints]
    popularity: Floats
    cold: Bools


class Users(NamedTuple):
    """Latents of the users."""

    favourites: dict[str, Ints]
    gender: Ints
    """0 or 1."""
    age: Ints
    """Index into ``AGES``."""


class Interactions(NamedTuple):
    """A block of interactions, sorted by time; rows of users and items count from 0."""

    user: Ints
    item: Ints
    timestamp: Ints
    noise: Bools


def factor(law: Law, previous_N: Ints, favourite_N: Ints) -> npt.NDArray[np.float32]:
    """Probability of each value of an attribute, (N, values)."""
    rest = (1.0 - law.move - law.taste) / law.values
    table = np.full((len(previous_N), law.values), rest, np.float32)
    rows = np.arange(len(previous_N))
    table[rows, (previous_N + law.step) % law.values] += law.move
    table[rows, favourite_N] += law.taste
    return table


def joint(factors: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Products of one value of each factor: (N, a), (N, b), … -> (N, a * b * …), the last one fastest."""
    result = factors[0]
    for table in factors[1:]:
        result = (result[:, :, None] * table[:, None, :]).reshape(
            len(result), result.shape[1] * table.shape[1]
        )
    return result


def flat(attributes: dict[str, Ints], names: tuple[str, ...]) -> Ints:
    """Index of each item into the product of the named attributes."""
    result = np.zeros_like(attributes[names[0]])
    for name in names:
        result = result * LAWS[name].values + attributes[name]
    return result


def topic_shares(platform: Platform, seed: int) -> Floats:
    """Share of each topic among the platform's items and in its users' tastes."""
    rng = platform.rng(seed, 0)
    share = np.exp(platform.topic_mix * rng.normal(size=LAWS["topic"].values))
    shares: Floats = share / share.sum()
    return shares


def make_items(world: World, seed: int, platform: Platform = PLATFORMS["a"]) -> Items:
    """Draws the items' latents: values are balanced, topics by the mix; popularity has a heavy tail."""
    rng = platform.rng(seed, 1)
    n = world.items
    attributes = {name: rng.permutation(np.arange(n) % law.values) for name, law in LAWS.items()}
    if platform.topic_mix:
        edges = np.cumsum(topic_shares(platform, seed))[:-1]
        attributes["topic"] = rng.permutation(np.searchsorted(edges, (np.arange(n) + 0.5) / n))
    log_popularity = rng.normal(0.0, world.tail, n)
    for name, law in LAWS.items():
        log_popularity += rng.normal(0.0, world.visible_tail, law.values)[attributes[name]]
    cold = np.zeros(n, bool)
    cold[rng.choice(n, round(world.cold * n), replace=False)] = True
    log_popularity += np.log(world.cold_boost) * cold
    popularity = np.exp(log_popularity)
    return Items(attributes, popularity / popularity.sum(), cold)


def make_users(world: World, seed: int, platform: Platform = PLATFORMS["a"]) -> Users:
    """Draws gender and age, then favourites that lean on them.

    Age shifts the favourite topic, gender the favourite colour, both to a half or a quarter of the values.
    """
    rng = platform.rng(seed, 2)
    n = world.users
    gender = rng.integers(0, 2, n)
    age = rng.choice(len(AGES), n, p=(0.35, 0.3, 0.2, 0.15))
    favourites = {}
    for name, law in LAWS.items():
        noise_UV = rng.gumbel(size=(n, law.values))
        values = np.arange(law.values)
        if name == "topic":
            if platform.topic_mix:
                noise_UV += np.log(topic_shares(platform, seed))
            noise_UV += world.tilt * (values * len(AGES) // law.values == age[:, None])
        if name == "colour":
            noise_UV += world.tilt * (values * 2 // law.values == gender[:, None])
        favourites[name] = noise_UV.argmax(1)
    return Users(favourites, gender, age)


class Shelf:
    """The items in order of their cell, sound, motion and release, so that a draw is a search in a sum."""

    def __init__(self, items: Items, rules: Rules = RULES) -> None:
        self.items = items
        self.rules = rules
        n_cells = size_of(rules.cell)
        self.n_subs = size_of(rules.sub)
        bin_I = flat(items.attributes, rules.cell) * self.n_subs + flat(items.attributes, rules.sub)
        self.order = np.lexsort((items.cold, bin_I))
        self.sum = np.concatenate([[0.0], np.cumsum(items.popularity[self.order])])
        edges = np.searchsorted(bin_I[self.order], np.arange(n_cells * self.n_subs + 1))
        n_warm = np.bincount(bin_I[~items.cold], minlength=n_cells * self.n_subs)
        self.start = edges[:-1]
        self.stop = np.stack([edges[:-1] + n_warm, edges[1:]])
        """End of each bin on the shelf: without the late items, with them."""
        mass = (self.sum[self.stop] - self.sum[self.start]).reshape(2, n_cells, self.n_subs)
        self.sub_mass = mass.astype(np.float32)
        self.cell_mass = mass.sum(2).astype(np.float32)
        self.warm = np.flatnonzero(~items.cold)

    def draw(
        self, previous: dict[str, Ints], favourites: dict[str, Ints], late_N: Ints, rng: np.random.Generator
    ) -> Ints:
        """Draws one item for each of N users.

        Args:
            previous: Attribute -> value of the item before, (N,).
            favourites: Attribute -> the user's favourite value, (N,).
            late_N: 1 where the late items are out, else 0.
            rng: Source of randomness.
        """
        laws = {name: factor(law, previous[name], favourites[name]) for name, law in self.rules.laws.items()}
        cell_N = _choose(joint([laws[name] for name in self.rules.cell]) * self.cell_mass[late_N], rng)
        sub_N = _choose(joint([laws[name] for name in self.rules.sub]) * self.sub_mass[late_N, cell_N], rng)
        bin_N = cell_N * self.n_subs + sub_N
        low, high = self.sum[self.start[bin_N]], self.sum[self.stop[late_N, bin_N]]
        place = np.searchsorted(self.sum, low + rng.random(len(low)) * (high - low), side="right") - 1
        drawn_N: Ints = self.order[np.clip(place, self.start[bin_N], self.stop[late_N, bin_N] - 1)]
        return drawn_N

    def any(self, late_N: Ints, rng: np.random.Generator) -> Ints:
        """Draws any item that is out, all alike."""
        of_all = rng.integers(0, len(self.order), len(late_N))
        of_warm = self.warm[rng.integers(0, len(self.warm), len(late_N))]
        return np.where(late_N == 1, of_all, of_warm)


def _choose(weight_NC: npt.NDArray[np.float32], rng: np.random.Generator) -> Ints:
    """Draws a column of each row in proportion to its weight; columns of weight 0 are never drawn."""
    sum_NC = np.cumsum(weight_NC, axis=1)
    # 1 - random() lies in (0, 1]: the first column whose sum reaches it has a positive weight.
    level_N1 = (1.0 - rng.random((len(sum_NC), 1), np.float32)) * sum_NC[:, -1:]
    chosen_N: Ints = (sum_NC < level_N1).sum(1)
    return chosen_N


def make_times(lengths_N: Ints, longest: int, rng: np.random.Generator) -> Ints:
    """Draws strictly rising timestamps, (N, longest): everybody's last one falls into the last tenth."""
    n = len(lengths_N)
    last_N1 = END - (rng.random((n, 1)) * 0.1 * SPAN).astype(np.int64)
    gaps_NL = 60 + rng.exponential(2.0 * 86_400, (n, longest)).astype(np.int64)
    since_NL = np.cumsum(gaps_NL, axis=1)
    end_N1 = np.take_along_axis(since_NL, lengths_N[:, None] - 1, axis=1)
    return last_N1 - (end_N1 - since_NL)


def walk(
    world: World, shelf: Shelf, users: Users, seed: int, platform: Platform = PLATFORMS["a"]
) -> Iterator[Interactions]:
    """Draws everybody's interactions, a block of users at a time."""
    release = END - round((1.0 - world.release) * SPAN)
    for block, first in enumerate(range(0, world.users, CHUNK)):
        rng = platform.rng(seed, 3, block)
        rows = slice(first, min(first + CHUNK, world.users))
        favourites = {name: values[rows] for name, values in users.favourites.items()}
        n = rows.stop - first
        extra_N = rng.geometric(1.0 / (world.mean_extra + 1.0), n) - 1
        lengths_N = np.minimum(world.shortest + extra_N, world.longest)
        times_NL = make_times(lengths_N, world.longest, rng)
        items_NL, noise_NL = _walk_block(world, shelf, favourites, lengths_N, times_NL >= release, rng)
        user_E, place_E = np.nonzero(items_NL >= 0)
        time_E = times_NL[user_E, place_E]
        order = np.argsort(time_E, kind="stable")
        user_E, place_E = user_E[order], place_E[order]
        yield Interactions(
            user_E + first, items_NL[user_E, place_E], time_E[order], noise_NL[user_E, place_E]
        )


def _walk_block(
    world: World,
    shelf: Shelf,
    favourites: dict[str, Ints],
    lengths_N: Ints,
    late_NL: Bools,
    rng: np.random.Generator,
) -> tuple[Ints, Bools]:
    """Items (N, longest), -1 after the end, and which of them are noise."""
    n = len(lengths_N)
    items_NL = np.full((n, world.longest), -1, np.int64)
    noise_NL = rng.random((n, world.longest)) < world.noise
    previous = {name: rng.integers(0, law.values, n) for name, law in LAWS.items()}
    for place in range(world.longest):
        todo = np.flatnonzero(lengths_N > place)
        for _ in range(TRIES):
            before = {name: values[todo] for name, values in previous.items()}
            taste = {name: values[todo] for name, values in favourites.items()}
            late = late_NL[todo, place].astype(np.int64)
            drawn = shelf.draw(before, taste, late, rng)
            drawn = np.where(noise_NL[todo, place], shelf.any(late, rng), drawn)
            repeated = (items_NL[todo, :place] == drawn[:, None]).any(1)
            items_NL[todo, place] = drawn
            todo = todo[repeated]
        led = (lengths_N > place) & ~noise_NL[:, place]
        for name, values in previous.items():
            values[led] = shelf.items.attributes[name][items_NL[led, place]]
    return items_NL, noise_NL
