"""Exact full ranking: ours against one large product with top-k, and against a sort a user."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.measure import Row, Spread, in_fresh_process, in_turns, now, require, second_of
from zoo.metrics.ranking import CUTOFFS, target_rank

WIDTH = 64
HIDDEN = 22
BEYOND = CUTOFFS[-1] + 1
"""Ranks from here on are not told apart by metrics, nor by a top-k."""
Problem = tuple[Tensor, Tensor, Tensor, Tensor]


def make_problem(n_items: int, n_users: int, device: torch.device) -> Problem:
    """Users (U, D), table (I, D), targets (U,) and hidden items (U, H).

    Vectors are small whole numbers: scores are exact in float32 whatever the order of the sums, so ranks can
    be compared to the last one, and ties are many.
    """
    generator = torch.Generator().manual_seed(0)
    table_ID = torch.randint(-4, 5, (n_items + 1, WIDTH), generator=generator, dtype=torch.float32)
    user_UD = torch.randint(-4, 5, (n_users, WIDTH), generator=generator, dtype=torch.float32)
    target_U = torch.randint(1, n_items + 1, (n_users,), generator=generator)
    # Half of the users lean towards their target, so that ranks of every size occur.
    user_UD[::2] += table_ID[target_U[::2]].sign()
    hidden_UH = torch.randint(1, n_items + 1, (n_users, HIDDEN), generator=generator)
    hidden_UH.masked_fill_(hidden_UH == target_U[:, None], 0)
    user_UD, table_ID = user_UD.to(device), table_ID.to(device)
    return user_UD, table_ID, target_U.to(device), hidden_UH.to(device)


def counted_ranks(problem: Problem) -> Tensor:
    """Ours."""
    return target_rank(*problem)[0]


def top_k_ranks(problem: Problem) -> Tensor:
    """One product for all users, hidden items masked, top 21; ranks beyond 20 become 21."""
    user_UD, table_ID, target_U, hidden_UH = problem
    scores_UI = user_UD @ table_ID.T
    target_score_U1 = scores_UI.gather(1, target_U[:, None])
    scores_UI.scatter_(1, hidden_UH, float("-inf"))
    scores_UI[:, 0] = float("-inf")
    return (scores_UI.topk(BEYOND).values >= target_score_U1).sum(1)


def sorted_ranks(problem: Problem) -> Tensor:
    """User after user: scores of all items, hidden ones masked, a full sort; the target loses ties."""
    user_UD, table_ID, target_U, hidden_UH = problem
    ranks = []
    for user_D, target, hidden_H in zip(user_UD, target_U, hidden_UH, strict=True):
        score_I = table_ID @ user_D
        target_score = score_I[target].item()
        score_I[hidden_H] = float("-inf")
        score_I[0] = float("-inf")
        descending_I = score_I.neg().sort().values
        ranks.append(torch.searchsorted(descending_I, -target_score, right=True))
    return torch.stack(ranks)


def scores_only(problem: Problem) -> Tensor:
    """The product and nothing else: what exact scoring costs at least."""
    return problem[0] @ problem[1].T


def first_users(problem: Problem, users: int) -> Problem:
    """The same for fewer users."""
    user_UD, table_ID, target_U, hidden_UH = problem
    return user_UD[:users], table_ID, target_U[:users], hidden_UH[:users]


def check_ranks(problem: Problem) -> str:
    """Compares the contenders' ranks: with the sort in full, with the top-k as far as it sees.

    Raises:
        Unequal: A rank differs.
    """
    few = first_users(problem, 64)
    ours_U = counted_ranks(few)
    require(torch.equal(ours_U, sorted_ranks(few)), "ranks by counting and by sorting")
    require(torch.equal(counted_ranks(problem).clamp(max=BEYOND), top_k_ranks(problem)), "ranks and top-k")
    seen = int((ours_U <= CUTOFFS[-1]).sum())
    return (
        f"every rank of 64 users equal to a sort's, {seen} of them up to 20; all users' equal to the top-k's"
    )


def ranking_row(n_items: int, n_users: int, sort_users: int, steps: int, device: torch.device) -> Row:
    """Users per second of every contender at one catalogue."""
    problem = make_problem(n_items, n_users, device)
    few = first_users(problem, sort_users)
    check = check_ranks(problem)

    def work(ranks: Callable[[Problem], Tensor], given: Problem) -> int:
        return len(ranks(given))

    rates = in_turns(
        {
            "ours": partial(work, counted_ranks, problem),
            "product and top-k": partial(work, top_k_ranks, problem),
            "sort a user": partial(work, sorted_ranks, few),
            "product alone": partial(work, scores_only, problem),
        },
        steps,
        warm_ups=2,
        device=device,
    )
    return Row(
        kind="evaluation",
        case=f"rank among {n_items:,} items",
        unit=f"users per {second_of(device)}",
        shape={
            "items": n_items,
            "users": n_users,
            "width": WIDTH,
            "hidden": HIDDEN,
            "sorted_users": sort_users,
        },
        rates=rates,
        check=check,
    )


def alone(name: str, n_items: int, n_users: int, steps: int) -> tuple[list[int], Spread]:
    """Ranks up to 21 and rates of one contender; to be called in a fresh process for its memory."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ranks = {"ours": counted_ranks, "product and top-k": top_k_ranks}[name]
    problem = make_problem(n_items, n_users, device)
    rates = []
    for step in range(steps + 1):
        start = now(device)
        rank_U = ranks(problem)
        if step:
            rates.append(n_users / (now(device) - start))
    return rank_U.clamp(max=BEYOND).tolist(), Spread.of(rates)


def large_row(n_items: int, n_users: int, steps: int, device: torch.device) -> Row:
    """A large catalogue, each contender in a process of its own, for its peak memory."""
    names = ("ours", "product and top-k")
    found = {name: in_fresh_process(alone, name, n_items, n_users, steps) for name in names}
    ranks = [rank_U for (rank_U, _), _ in found.values()]
    require(ranks[0] == ranks[1], f"ranks among {n_items:,} items")
    _, start_mb = in_fresh_process(make_problem, n_items, n_users, device)
    return Row(
        kind="evaluation",
        case=f"rank among {n_items:,} items",
        unit=f"users per {second_of(device)}",
        shape={"items": n_items, "users": n_users, "width": WIDTH, "hidden": HIDDEN},
        rates={name: rates for name, ((_, rates), _) in found.items()},
        check="all ranks up to 20 equal to those of the top-k",
        peak_mb={**{name: mb for name, (_, mb) in found.items()}, "vectors alone": start_mb},
        notes={"alternated": "no: one process each"},
    )


def ranking_rows(sizes: dict[int, tuple[int, int]], large: int, steps: int) -> Iterator[Row]:
    """Catalogues of several sizes.

    Args:
        sizes: Items -> users ranked at once, and users sorted one by one.
        large: Items of the catalogue measured for memory.
        steps: Timed steps.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for n_items, (n_users, sort_users) in sizes.items():
        yield ranking_row(n_items, n_users, sort_users, steps, device)
    yield large_row(large, 256, max(2, steps // 4), device)
