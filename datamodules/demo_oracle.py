"""The best a model could do on the demo catalogue with the attributes of some modalities.

The oracle knows the law of the world, the items' popularity and the named attributes. It does not know which
interactions are noise, nor anybody's favourites: those it infers from the history, as a model must.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datamodules.demo_rules import IMAGE, RULES, TEXT, Law, Rules, size_of
from datamodules.demo_world import Floats, Items, flat, joint

Ids = npt.NDArray[np.integer]
Ints = npt.NDArray[np.int64]


def oracle_ranks(
    items: Items,
    history_UL: Ids,
    target_U: Ids,
    hidden_UH: Ids,
    known: Sequence[str] = TEXT + IMAGE,
    scores_at_once: int = 4_000_000,
    rules: Rules = RULES,
) -> Ints:
    """Ranks the targets by the law of the world: history hidden, ties lose.

    Args:
        items: Latents; row r belongs to catalogue id r + 1.
        history_UL: Left-padded histories.
        target_U: The held-out item of each user.
        hidden_UH: Items that may not be recommended, padded with 0.
        known: Attributes the oracle sees.
        scores_at_once: Bounds the memory.
        rules: Of the platform.

    Returns:
        Rank of each target, (U,), 1 is best; the number of catalogue rows where the target is hidden.
    """
    n_items = len(items.popularity) + 1
    chunk = max(1, scores_at_once // n_items)
    ranks = []
    for first in range(0, len(target_U), chunk):
        rows = slice(first, first + chunk)
        score_BI = _scores(items, history_UL[rows], known, rules)
        hidden_BH, target_B = hidden_UH[rows], target_U[rows]
        users = np.arange(len(target_B))
        level_B1 = score_BI[users, target_B][:, None]
        np.put_along_axis(score_BI, hidden_BH.astype(np.int64), -1.0, axis=1)
        score_BI[:, 0] = -1.0
        score_BI[users, target_B] = -1.0
        rank_B = 1 + (score_BI >= level_B1).sum(1)
        missed_B = (hidden_BH == target_B[:, None]).any(1)
        ranks.append(np.where(missed_B, n_items, rank_B))
    return np.concatenate(ranks) if ranks else np.zeros(0, np.int64)


def _scores(items: Items, history_BL: Ids, known: Sequence[str], rules: Rules) -> Floats:
    """Probability of each item up to a factor of the user, (B, I)."""
    score_BI = np.empty((len(history_BL), len(items.popularity) + 1))
    score_BI[:, 0] = 0.0
    score_BI[:, 1:] = items.popularity
    laws = {
        name: _predict(law, items.attributes[name], history_BL)
        for name, law in rules.laws.items()
        if name in known
    }
    for name, law_BV in laws.items():
        score_BI[:, 1:] *= law_BV[:, items.attributes[name]]
    if set(rules.sub) <= set(laws):
        # The last attributes choose inside a cell: divide by what they sum to there.
        n_subs, n_cells = size_of(rules.sub), size_of(rules.cell)
        cell_I = flat(items.attributes, rules.cell)
        bin_I = cell_I * n_subs + flat(items.attributes, rules.sub)
        mass_CS = np.bincount(bin_I, items.popularity, minlength=n_cells * n_subs).reshape(n_cells, n_subs)
        share_CS = mass_CS / np.maximum(mass_CS.sum(1, keepdims=True), 1e-300)
        sub_BS = joint([laws[name] for name in rules.sub])
        score_BI[:, 1:] /= (sub_BS @ share_CS.T)[:, cell_I]
    return score_BI


def _predict(law: Law, value_I: Ints, history_BL: Ids) -> Floats:
    """Probability of each next value of one attribute, (B, values), from the history alone."""
    real_BL = history_BL > 0
    value_BL = value_I[np.maximum(history_BL, 1).astype(np.int64) - 1]
    rest = (1.0 - law.move - law.taste) / law.values
    base_BL = rest + law.move * (value_BL[:, 1:] == (value_BL[:, :-1] + law.step) % law.values)
    both_BL = real_BL[:, 1:] & real_BL[:, :-1]
    # Every step speaks for the favourite it hit, by how much likelier that favourite makes it.
    gain_BL = np.where(both_BL, np.log1p(law.taste / base_BL), 0.0)
    log_odds_BV = np.zeros((len(history_BL), law.values))
    users = np.broadcast_to(np.arange(len(history_BL))[:, None], gain_BL.shape)
    np.add.at(log_odds_BV, (users, value_BL[:, 1:]), gain_BL)
    favourite_BV = np.exp(log_odds_BV - log_odds_BV.max(1, keepdims=True))
    favourite_BV /= favourite_BV.sum(1, keepdims=True)
    law_BV: Floats = rest + law.taste * favourite_BV
    known = np.flatnonzero(real_BL[:, -1])
    law_BV[known, (value_BL[known, -1] + law.step) % law.values] += law.move
    return law_BV
