"""From an encoder's width to the width in which modalities are fused."""

from torch import Tensor, nn

from zoo.encoders.base import Encoded
from zoo.encoders.tower import mean_tokens


class Project(nn.Module):
    """One linear layer on what an encoder gives: on its pooled vector, or on every token.

    Args:
        n_in: Width of the pooled vector, or of the tokens.
        width: Width D of the result.
        xavier: Xavier-normal weights and zero biases instead of PyTorch's default.
        tokens: Project the tokens; the pooled vector is then the mean of the projected real tokens.
    """

    def __init__(self, n_in: int, width: int, *, xavier: bool = True, tokens: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, width)
        self.tokens = tokens
        if xavier:
            nn.init.xavier_normal_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

    def forward(self, part: Encoded) -> Encoded:
        """Projects a part of N items to width D."""
        if not self.tokens:
            return part._replace(pooled_ND=self.linear(part.pooled_ND), tokens_NTD=None, mask_NT=None)
        assert part.tokens_NTD is not None
        tokens_NTD: Tensor = self.linear(part.tokens_NTD)
        return part._replace(tokens_NTD=tokens_NTD, pooled_ND=mean_tokens(tokens_NTD, part.mask_NT))
