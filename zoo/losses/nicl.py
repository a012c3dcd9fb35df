"""NICL: next-item enhanced cross-modal contrastive learning, of PMMRec.

"Multi-Modality is All You Need for Transferable Recommender Systems", ICDE 2024,
https://arxiv.org/abs/2312.09602, official code https://github.com/ICDE24/PMMRec. A title and a cover are
drawn together when they belong to one item, or to the next item of the same user.

What is known of it differs in kind. The published form, ``next_item_nce``, is in no public code: it follows a
second-hand summary of the paper, and where that is silent our reference design decides, as said below. The
prototype, ``prototype_nce``, is what an early public commit (488352f) computed, on rows that belong together;
there, rows drifted by one a user.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.losses.contrastive import multi_positive_nce, unit
from zoo.losses.corruption import occurrences
from zoo.losses.rows import mean_of, real_slots

MINUS_INF = float("-inf")


def next_item_nce(
    text_ND: Tensor, image_ND: Tensor, slots_BS: Tensor, positions_P: Tensor, temperature: float = 1.0
) -> Tensor:
    """The published form, second-hand: both modalities are anchors, candidates come from both.

    An anchor is one modality of a slot's item. Positives are the item's other modality and both modalities of
    the next item, summed inside the logarithm; negatives are both modalities of all slots of other users.
    Similarities are exponentials of cosines.

    Reference design: the sum inside the logarithm; negatives that are the anchor's or the next item are left
    out; a user's last slot has one positive; no projection head.

    Every slot of another user is a negative, but equal items have equal vectors: they are one column raised
    by the log of their number, and similarities are computed between distinct items.

    Args:
        text_ND: Text vectors of the distinct items; row 0 is padding.
        image_ND: Image vectors of the same items.
        slots_BS: Row of the two above each slot holds; 0 is padding, or an item to be left out.
        positions_P: Flat indices into (B, L) of the positions with a next item.
        temperature: Divides the cosines; the summary has none.

    Returns:
        Mean over the real slots and both modalities, a scalar.
    """
    n_users, n_slots = slots_BS.shape
    row_P = real_slots(positions_P, n_users, n_slots)
    item_P = slots_BS.flatten()[row_P]
    next_P = F.pad(slots_BS[:, 1:], (0, 1)).flatten()[row_P]
    # How often other users hold an item that is neither the anchor's nor the next one.
    own_BN = occurrences(slots_BS, text_ND.shape[0])
    log_count_PN = (own_BN.sum(0) - own_BN).log()[row_P // n_slots]
    log_count_PN = log_count_PN.scatter(1, torch.stack([item_P, next_P], 1), MINUS_INF)

    with torch.autocast(text_ND.device.type, enabled=False):
        text_ND, image_ND = unit(text_ND), unit(image_ND)
        across_NN = text_ND @ image_ND.T / temperature
        sides = (
            (across_NN, text_ND @ text_ND.T / temperature),
            (across_NN.T, image_ND @ image_ND.T / temperature),
        )
    losses = []
    for cross_NN, within_NN in sides:
        following = torch.stack([cross_NN[item_P, next_P], within_NN[item_P, next_P]], 1)
        following = following.masked_fill((next_P == 0)[:, None], MINUS_INF)
        positive_P3 = torch.cat([cross_NN[item_P, item_P, None], following], 1)
        negative_PN = torch.logaddexp(cross_NN, within_NN)[item_P] + log_count_PN
        losses.append(multi_positive_nce(positive_P3, negative_PN, item_P != 0))
    return torch.stack(losses).mean()


class PrototypeHead(nn.Module):
    """The head the prototype shares between text and image: two linear layers and a batch norm.

    In several processes ``--trainer.sync_batchnorm true`` takes the statistics of all, as the authors did.

    Args:
        width: Width D of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, 2 * width)
        self.linear2 = nn.Linear(2 * width, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x_PD: Tensor) -> Tensor:
        """Maps rows (P, D); in training the statistics are those of these rows."""
        x_PD = self.linear2(F.relu(self.linear1(x_PD)))
        if self.training and x_PD.shape[0] == 1:  # one row has no variance
            norm = self.norm
            assert norm.running_mean is not None
            assert norm.running_var is not None
            return F.batch_norm(
                x_PD, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        normed_PD: Tensor = self.norm(x_PD)
        return normed_PD


def prototype_nce(
    text_PD: Tensor, image_PD: Tensor, item_P: Tensor, user_P: Tensor, temperature: float = 0.1
) -> Tensor:
    """The prototype: text anchors, image candidates, the log-partition subtracted once for all positives.

    Positives of a row are its own image and that of the next row, where this is the same user's. Negatives
    are images of other items: of other users where the row has a next one, of anybody on a user's last row.

    Args:
        text_PD: Text vectors of the rows, after the head; rows of a user follow one another.
        image_PD: Image vectors of the rows, after the head.
        item_P: Item of each row; rows of item 0 are left out.
        user_P: User of each row.
        temperature: Divides the cosines.

    Returns:
        Mean over the rows, a scalar.
    """
    with torch.autocast(text_PD.device.type, enabled=False):
        logit_PP = unit(text_PD) @ unit(image_PD).T / temperature
    real_P = item_P != 0
    follows = (user_P[1:] == user_P[:-1]) & real_P[1:] & real_P[:-1]
    has_next_P = F.pad(follows, (0, 1))
    next_P = torch.where(has_next_P, item_P.roll(-1), item_P)
    other_item_PP = (item_P != item_P[:, None]) & (item_P != next_P[:, None]) & real_P
    other_user_PP = user_P != user_P[:, None]
    # A row that does not count keeps its own image, so that its loss is finite.
    positive_PP = torch.diag_embed(torch.ones_like(real_P)) | torch.diag_embed(follows, offset=1)
    candidate_PP = positive_PP | (other_item_PP & (other_user_PP | ~has_next_P[:, None]))
    partition_P = logit_PP.masked_fill(~candidate_PP, MINUS_INF).logsumexp(1)
    agreement_P = (logit_PP * positive_PP).sum(1)
    return mean_of((partition_P - agreement_P) / positive_PP.sum(1), real_P)
