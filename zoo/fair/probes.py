"""Small classifiers of sensitive attributes, all of them one batched network.

FMMRec's discriminators and attackers: ``Linear - LeakyReLU(0.2) - Dropout(0.2) - Linear``, one for each
attribute and each group of vectors (the two branches of a modality, or the user and the item side). No
weight is shared, so one pass, one loss and one optimiser do what the released code does net by net.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Init = Literal["small", "usual"]
"""``small``: weights and biases N(0, 0.01²), the authors' discriminators; ``usual``: PyTorch's default."""
UNKNOWN = -1
"""Label of a user whose attribute is not known: no loss, no score."""


class Probes(nn.Module):
    """A classifier for every group of vectors and every attribute.

    A binary attribute is two logits of which the first is fixed at 0: its softmax is the sigmoid of the
    other, its cross-entropy the binary one. The weights of logits that an attribute has not are idle.

    Args:
        groups: Groups G of vectors, each seen by its own K classifiers.
        width: Width D of the vectors.
        n_classes: Classes of each of the K attributes.
        hidden: Width H of the hidden layer; 0 for none (then a logistic regression).
        dropout: After the hidden layer.
        init: How the weights begin.
    """

    def __init__(
        self,
        groups: int,
        width: int,
        n_classes: Sequence[int],
        hidden: int,
        dropout: float = 0.2,
        init: Init = "small",
    ) -> None:
        super().__init__()
        attributes, most = len(n_classes), max(n_classes)
        self.hidden = hidden
        self.dropout = dropout
        inner = hidden or width
        if hidden:
            self.weight_GDKH = nn.Parameter(torch.empty(groups, width, attributes, hidden))
            self.bias_GKH = nn.Parameter(torch.empty(groups, attributes, hidden))
        self.weight_GKHC = nn.Parameter(torch.empty(groups, attributes, inner, most))
        self.bias_GKC = nn.Parameter(torch.empty(groups, attributes, most))
        floor_KC = torch.zeros(attributes, most)
        open_KC = torch.zeros(attributes, most, dtype=torch.bool)
        for row, classes in enumerate(n_classes):
            open_KC[row, 1 if classes == 2 else 0 : classes] = True
            floor_KC[row, classes:] = -torch.inf
        self.register_buffer("open_KC", open_KC, persistent=False)
        self.register_buffer("floor_KC", floor_KC, persistent=False)
        self.open_KC: Tensor
        self.floor_KC: Tensor
        self.reset(init, width)

    @torch.no_grad()
    def reset(self, init: Init, width: int) -> None:
        """Draws the weights."""
        for name, parameter in self.named_parameters():
            fan_in = width if name in ("weight_GDKH", "bias_GKH") else self.hidden or width
            if init == "small":
                parameter.normal_(0.0, 0.01)
            else:
                parameter.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def forward(self, vector_GBD: Tensor) -> Tensor:
        """Logits (G, K, B, C); those of classes that an attribute has not are minus infinity."""
        if self.hidden:
            groups, width, attributes, hidden = self.weight_GDKH.shape
            inner_GBKH = torch.baddbmm(
                self.bias_GKH.reshape(groups, 1, -1), vector_GBD, self.weight_GDKH.reshape(groups, width, -1)
            ).reshape(groups, -1, attributes, hidden)
            inner_GBKH = F.dropout(F.leaky_relu(inner_GBKH, 0.2), self.dropout, self.training)
            logit_GKBC = torch.einsum("gbkh,gkhc->gkbc", inner_GBKH, self.weight_GKHC)
        else:
            logit_GKBC = torch.einsum("gbd,gkdc->gkbc", vector_GBD, self.weight_GKHC)
        logit_GKBC = logit_GKBC + self.bias_GKC[:, :, None]
        return torch.where(self.open_KC[:, None], logit_GKBC, self.floor_KC[:, None])


def cross_entropies(logit_GKBC: Tensor, label_KB: Tensor) -> Tensor:
    """Mean cross-entropy (G, K) over the users whose label is known; 0 where none is.

    Args:
        logit_GKBC: What the probes say.
        label_KB: Classes, ``UNKNOWN`` where not known.
    """
    groups, attributes, users, classes = logit_GKBC.shape
    label_GKB = label_KB.expand(groups, attributes, users)
    loss_R = F.cross_entropy(
        logit_GKBC.float().reshape(-1, classes), label_GKB.reshape(-1), reduction="none", ignore_index=UNKNOWN
    )
    known_KB = label_KB != UNKNOWN
    return loss_R.reshape(groups, attributes, users).sum(-1) / known_KB.sum(-1).clamp(min=1)


def confusions(logit_GKBC: Tensor, label_KB: Tensor) -> Tensor:
    """How far predictions are from the shares of the classes, whoever is looked at: (G, K), at least 0.

    Args:
        logit_GKBC: What the probes say.
        label_KB: Classes, ``UNKNOWN`` where not known; they only say how frequent each class is.

    Returns:
        Mean over the users of the Kullback-Leibler divergence from the shares to the prediction.
    """
    classes = torch.arange(logit_GKBC.shape[-1], device=label_KB.device)
    count_KC = (label_KB[..., None] == classes).sum(1)
    share_KC = count_KC / count_KC.sum(-1, keepdim=True).clamp(min=1)
    told_GKC = logit_GKBC.float().log_softmax(-1).mean(2)
    seen_KC = share_KC > 0
    gap_GKC = share_KC.clamp(min=1e-12).log() - torch.where(seen_KC, told_GKC, 0.0)
    return torch.where(seen_KC, share_KC * gap_GKC, 0.0).sum(-1)


def random_labels(label_KB: Tensor, n_classes: Sequence[int]) -> Tensor:
    """The released code's labels of the filtered branch: those of more than two classes are drawn at random.

    The last class is never drawn, as there. Unknown labels stay unknown.
    """
    drawn_KB = torch.stack(
        [
            torch.randint(0, classes - 1, labels_B.shape, device=labels_B.device) if classes > 2 else labels_B
            for labels_B, classes in zip(label_KB, n_classes, strict=True)
        ]
    )
    return torch.where(label_KB == UNKNOWN, label_KB, drawn_KB)
