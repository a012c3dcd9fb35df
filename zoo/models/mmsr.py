"""MMSR: "An Empirical Study of Training ID-Agnostic Multi-modal Sequential Recommenders".

Li et al., 2024, https://arxiv.org/abs/2403.17372; official code MMSR23/MMSR (63a6d51).

Four choices make a recommender without item ids: the text encoder, the image encoder, how both are fused, and
how the sequence is read. All are trained together against one sampled negative a position.

What differs from the released code, which cannot finish its first epoch:

* The top two blocks of a tower are trained (``tune: 2``), as its comments say; the code freezes exactly those
  and trains the rest (``tune: legacy_bottom``).
* ViT-MAE sees the whole picture, not a random quarter of it in training and evaluation alike
  (``mask_ratio: 0.75`` drops patches, in evaluation always the same).
* Padding is no item: GRU4Rec and NextItNet skip it, where the code feeds them grey pictures in training and
  black ones in evaluation (``backbone_args: {padding: vector}`` puts one constant vector there).
* ResNets can be used with attention fusions (``zoo.fusion.project.MapProject``).
* The learning rate stays constant; the code's falls to a tenth after 119 of its 150 epochs.

Kept: one layer norm for all modalities, item vectors without negative entries after the ``*_dnn`` fusions,
merge attention without token types (``fusion_args: {token_types: true}`` adds them), attention fusions that
start from random weights, negatives that may be a user's validation or test item.
"""

from typing import Any

from zoo.fused import FusedRecommender
from zoo.losses.next_item import Loss


class MMSR(FusedRecommender):
    """Text and image, their tokens or their means, projected, fused, read in order; or one modality, or ids.

    The paper pools by the mean of all tokens, so give encoders ``pool: mean_all``; attention fusions read
    tokens and ignore the pooling.

    Args:
        fusion: How the parts of an item become one vector: ``sum``, ``concat``, ``film``, ``gated``,
            ``sum_dnn``, ``concat_dnn``, ``film_dnn``, ``gated_dnn``, ``co_att``, ``merge_attn``, or another
            name of ``zoo.fusion.create.FUSIONS``. A model with a single part makes none.
        fusion_args: Further arguments of the fusion, such as ``n_heads``, ``ffn``, ``n_layers`` and
            ``token_types`` of the attention fusions.
        width: Width D of item and user vectors.
        loss: Training loss.
        lr: Learning rate of everything but the encoders.
        weight_decay: Weight decay of everything but the encoders.
        encoder_weight_decay: Weight decay of the encoders.
        **kwargs: Arguments of the sequential base, see ``zoo.sequential.SequentialRecommender``.

    Raises:
        ValueError: The fusion, its options and the number of parts do not go together.
    """

    def __init__(
        self,
        fusion: str = "merge_attn",
        fusion_args: dict[str, Any] | None = None,
        width: int = 768,
        loss: Loss = "bce",
        lr: float = 1e-4,
        weight_decay: float = 0.1,
        encoder_weight_decay: float | None = 0.0,
        **kwargs: Any,  # noqa: ANN401  # jsonargparse follows them to the base
    ) -> None:
        super().__init__(
            fusion=fusion,
            fusion_args=fusion_args,
            width=width,
            loss=loss,
            lr=lr,
            weight_decay=weight_decay,
            encoder_weight_decay=encoder_weight_decay,
            **kwargs,
        )
