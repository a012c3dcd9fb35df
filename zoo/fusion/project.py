"""From an encoder's width to the width in which modalities are fused."""

from math import isqrt

from torch import Tensor, nn

from zoo.encoders.base import Encoded, Encoder
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


class MapProject(nn.Module):
    """A 3x3 convolution without bias and a ReLU on the last feature map of a convolutional network.

    What MMSR (https://arxiv.org/abs/2403.17372) means ResNets to get before an attention fusion. Its released
    code gives the convolution the 1000 class scores in place of the map, and fails.

    Args:
        n_in: Channels of the map.
        width: Width D of the resulting tokens.
    """

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(n_in, width, kernel_size=3, padding=1, bias=False)

    def forward(self, part: Encoded) -> Encoded:
        """Turns the T = side * side positions of a square map into tokens of width D, and their mean.

        Raises:
            ValueError: The map is not square.
        """
        assert part.tokens_NTD is not None
        side = isqrt(part.tokens_NTD.shape[1])
        if side * side != part.tokens_NTD.shape[1]:
            raise ValueError(
                f"A square feature map is needed, but there are {part.tokens_NTD.shape[1]} positions; give "
                "the tower square pictures."
            )
        map_NDHW = part.tokens_NTD.transpose(1, 2).reshape(len(part.tokens_NTD), -1, side, side)
        tokens_NTD = self.convolution(map_NDHW).relu().flatten(2).transpose(1, 2)
        return part._replace(tokens_NTD=tokens_NTD, pooled_ND=mean_tokens(tokens_NTD, part.mask_NT))


def projection(encoder: Encoder, width: int, tokens: bool) -> Project | MapProject:
    """What brings an encoder's output to the width of the model.

    Args:
        encoder: The tower.
        width: Width D of the result.
        tokens: Whether tokens are read, and not only the pooled vector.
    """
    if not tokens:
        return Project(encoder.width, width)
    if encoder.maps:
        return MapProject(encoder.token_width, width)
    return Project(encoder.token_width, width, tokens=True)
