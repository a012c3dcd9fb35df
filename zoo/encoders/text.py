"""Text towers: BERT's kin, decoder language models and any other encoder that transformers can build.

Preparation and pooling follow MoRec (SIGIR 2023, arXiv 2303.13835): lower-cased titles, the tower's own
tokenizer with its special tokens, [CLS] of encoders, the mean of real tokens of decoders.
"""

import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from copy import deepcopy
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer, PretrainedConfig

from zoo.encoders.base import Encoded, EncoderSpec
from zoo.encoders.hub import build_network, find_blocks, from_hub, plain_config, read_config
from zoo.encoders.kinds import is_encoder_decoder
from zoo.encoders.tower import Tower, evaluating, kept_states, last_token, mean_tokens, stack_states
from zoo.encoders.trim import PAD, ignores_padding, trim_tokens
from zoo.encoders.words import WordTokenizer
from zoo.types import Content

log = logging.getLogger(__name__)

_CLASS_SEGMENT = 2
"""Segment of XLNet's class token; a title is segment 0."""


class Tokenizer(Protocol):
    """Ids of texts, special tokens included."""

    key: str
    """Names everything that changes the ids."""

    def __call__(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Ids of each text, at most ``max_tokens``."""
        ...


class HubTokenizer:
    """A transformers tokenizer, identified by its content rather than by where it lies."""

    def __init__(self, name: str) -> None:
        self.tokenizer = from_hub(
            lambda local: AutoTokenizer.from_pretrained(name, local_files_only=local),
            name,
            "its tokenizer",
            "text",
        )
        self.n_ids = len(self.tokenizer)
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        state = json.loads(backend.to_str()) if backend is not None else self.tokenizer.get_vocab()
        for varying in ("truncation", "padding"):  # set by every call
            state.pop(varying, None)
        digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]
        self.key = f"{type(self.tokenizer).__name__}:{digest}"

    def __call__(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Ids of each text with special tokens, at most ``max_tokens``."""
        encoded = self.tokenizer(
            list(texts), truncation=True, max_length=max_tokens, return_attention_mask=False
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids


class TextTransform:
    """Titles to an int32 matrix of token ids, -1 after the last token of each.

    Args:
        tokenizer: Gives the ids of each text; its ``key`` names it.
        max_tokens: Columns of the matrix.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        if max_tokens < 2:
            raise ValueError(f"max_tokens must be at least 2 (special tokens count); found {max_tokens}.")
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.key = f"text-lower-{max_tokens}-{tokenizer.key}"
        self.fields: dict[str, tuple[tuple[int, ...], str]] = {"tokens": ((max_tokens,), "int32")}
        self.fill = {"tokens": PAD}

    @classmethod
    def of(cls, spec: EncoderSpec) -> "TextTransform":
        """The transform a spec asks for; reads a tokenizer and a configuration, never weights."""
        config = read_config(spec, "text")
        if spec.tokenizer == "words":
            return cls(WordTokenizer(int(config.vocab_size)), spec.max_tokens)
        if (
            spec.tokenizer is None
            and spec.config is not None
            and spec.name == spec.config.get("model_type", spec.name)
        ):
            raise ValueError(
                f"The text tower {spec.name!r} is built from its configuration and has no tokenizer: set "
                "`tokenizer: words` (whole words, hashed), or a hub name or folder that has one."
            )
        tokenizer = HubTokenizer(spec.tokenizer or spec.name)
        if spec.tokenizer is not None and tokenizer.n_ids > config.vocab_size:
            raise ValueError(
                f"tokenizer {spec.tokenizer!r} gives ids up to {tokenizer.n_ids - 1}; {spec.name!r} has a "
                f"token table of {config.vocab_size}. Give the tokenizer the tower was made for, or in "
                f"`config` a vocab_size of {tokenizer.n_ids}."
            )
        return cls(tokenizer, spec.max_tokens)

    def __call__(self, raw: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
        """Prepares n titles as ``tokens`` (n, max_tokens)."""
        rows = self.tokenizer([str(text).lower() for text in raw], self.max_tokens)
        tokens_NT = np.full((len(rows), self.max_tokens), PAD, np.int32)
        lengths_N = np.fromiter(map(len, rows), np.int64, len(rows))
        real_NT = np.arange(self.max_tokens) < lengths_N[:, None]
        tokens_NT[real_NT] = np.fromiter(chain.from_iterable(rows), np.int32, int(lengths_N.sum()))
        return {"tokens": tokens_NT}


class TextEncoder(Tower):
    """A transformers text tower.

    Args:
        network: The network, called with ``input_ids`` and a mask.
        config: Its configuration.
        spec: What was asked for; ``pool: default`` is token 0 for bidirectional towers (the last one for
            XLNet, whose class token ends a title), the mean over real tokens for causal ones and T5's kin (no
            start token), the end token for CLIP's text side. ``legacy_padded``, of causal ones only, averages
            padding in.

    Raises:
        ValueError: A pooling that says nothing about the title, or more tokens than the network has
            positions.
    """

    trims: bool = True
    """Whether padding changes nothing. To a network that reads it, all titles are of ``max_tokens``."""

    def __init__(self, network: nn.Module, config: PretrainedConfig, spec: EncoderSpec) -> None:
        super().__init__(network, spec)
        self.architecture = plain_config(config)
        self.pad_id = config.pad_token_id if isinstance(config.pad_token_id, int) else 0
        self.vocab_size = int(config.vocab_size)
        self.relative = config.model_type == "xlnet"
        self.class_token_last = self.relative and spec.tokenizer != "words"
        self.causal, has_own_pool, self.depth = self._probe()
        self.wide_up_to = 0 if self.causal else self._wide_mask_length(config)
        self.pool = self._choose_pool(config, has_own_pool)
        no_class_token = has_own_pool or is_encoder_decoder(config) or self.class_token_last
        self.class_token = not (self.causal or no_class_token)
        self._blocks = find_blocks(network)
        self.keep = kept_states(spec, self.depth)
        self.width = self.measure()
        self._check_length(config)
        self.trims = self._trims()

    @classmethod
    def of(cls, spec: EncoderSpec, pretrained: bool = True) -> "TextEncoder":
        """Builds the tower a spec names; ``pretrained=False`` reads ``spec.config`` only."""
        config = read_config(spec, "text")
        if pretrained and spec.config is None and spec.tokenizer == "words":
            log.warning(
                "%s is pre-trained, but tokenizer 'words' gives hashed words, which mean nothing to its "
                "token table: leave tokenizer out (--model.text.tokenizer null).",
                spec.name,
            )
        # The library's encoder-only classes edit the configuration they are given.
        return cls(build_network(deepcopy(config), spec, pretrained, "text"), config, spec)

    def _probe(self) -> tuple[bool, bool, int]:
        """Whether the first state ignores later tokens, whether the tower pools by itself, its depth.

        Told by the gradient, which a causal mask makes exactly zero; comparing two outputs would depend on
        rounding.
        """
        embedded: list[Tensor] = []
        weight = self.network.get_input_embeddings().weight
        tables = [m for m in self.network.modules() if getattr(m, "weight", None) is weight]  # T5 ties two
        handles = [table.register_forward_hook(lambda *call: embedded.append(call[-1])) for table in tables]
        ids = torch.tensor([[3, 4, 5]]) % self.vocab_size
        with evaluating(self), torch.enable_grad():
            output = self.network(input_ids=ids, output_hidden_states=True)
            (gradient,) = torch.autograd.grad(output.last_hidden_state[0, 0, 0], embedded[0])
        gradient_TD = gradient.flatten(0, 1)  # of one title, whichever dimension the network puts first
        for handle in handles:
            handle.remove()
        pools = getattr(output, "pooler_output", None) is not None
        return not bool(gradient_TD[1:].any()), pools, len(output.hidden_states) - 1

    def _choose_pool(self, config: PretrainedConfig, has_own_pool: bool) -> str:
        """How tokens become one vector: ``mean``, ``cls`` (the first token), ``last`` or ``padded``."""
        if self.spec.pool == "legacy_padded":
            if not self.causal:
                raise ValueError(
                    f"pool: legacy_padded of {self.spec.name!r}: it averages the padding of decoder language "
                    "models in, as IISAN-Versa does; this tower is none. Use default or mean."
                )
            return "padded"
        if self.spec.pool in ("mean", "mean_all"):
            return "mean"
        if self.spec.pool == "cls" and self.causal:
            raise ValueError(
                f"pool: cls of {self.spec.name!r}: its attention looks back only, so the first token has "
                "seen nothing and is the same for every title. Use default or mean."
            )
        if self.class_token_last:
            return "last"
        if self.spec.pool == "cls":
            return "cls"
        if has_own_pool and not self.causal:
            raise ValueError(
                f"{self.spec.name!r} pools over padding of a fixed length, which is not kept here: set pool: "
                "mean or cls."
            )
        if has_own_pool:
            return "last"
        return "mean" if self.causal or is_encoder_decoder(config) else "cls"

    @torch.no_grad()
    def _check_length(self, config: PretrainedConfig) -> None:
        """Tries a title of ``max_tokens`` if that could be more than the network has positions."""
        positions, length = getattr(config, "max_position_embeddings", None), self.spec.max_tokens
        # RoBERTa's kin begin to count after the padding id.
        if not isinstance(positions, int) or positions <= 0 or length < positions - self.pad_id:
            return
        tokens = torch.full((1, length), self.vocab_size - 1, dtype=torch.int32)
        try:
            with evaluating(self):
                self({"tokens": tokens})
        except (IndexError, RuntimeError) as error:
            raise ValueError(
                f"max_tokens={length}: {self.spec.name!r} has no positions for so long a title "
                f"(max_position_embeddings is {positions}). Set max_tokens below that."
            ) from error

    def _trims(self) -> bool:
        tokens_1T = self.blank()["tokens"][:, : self.spec.max_tokens]
        with evaluating(self):
            return ignores_padding(lambda content: self(content).pooled_ND, tokens_1T, self.spec.max_tokens)

    def trim(self, content: Content) -> Content:
        """Titles cut to the longest."""
        return trim_tokens(content) if "tokens" in content else content

    def transform(self) -> TextTransform:
        """Lower-cased titles through the tower's tokenizer."""
        return TextTransform.of(self.spec)

    def config(self) -> dict[str, Any]:
        """The transformers configuration."""
        return dict(self.architecture)

    def blocks(self) -> list[list[str]]:
        """Embedding, then each layer."""
        return [[f"network.{name}" for name in block] for block in self._blocks]

    def blank(self) -> Content:
        """One title of three tokens."""
        device = next(self.parameters()).device
        tokens = torch.tensor([[3, 4, 5]], dtype=torch.int32, device=device) % self.vocab_size
        return {"tokens": tokens, "present": torch.ones(1, dtype=torch.bool, device=device)}

    def forward(self, content: Content) -> Encoded:
        """Encodes ``tokens`` (N, T) int32, -1 after each title; rows without tokens give finite vectors."""
        tokens_NT, pad_id = content["tokens"], self.pad_id
        if self.pool == "padded" or not self.trims:  # titles may have been cut to the longest of a batch
            tokens_NT = F.pad(tokens_NT, (0, self.spec.max_tokens - tokens_NT.shape[1]), value=PAD)
            pad_id = 0 if self.pool == "padded" else pad_id
        mask_NT = tokens_NT != PAD
        ids_NT = torch.where(mask_NT, tokens_NT, pad_id).long()
        output = self.network(
            input_ids=ids_NT,
            attention_mask=self._attended(mask_NT),
            output_hidden_states=bool(self.keep),
            **self._extras(mask_NT),
        )
        tokens_NTD = output.last_hidden_state
        states = [self._pool(output.hidden_states[k], mask_NT) for k in self.keep]
        return Encoded(
            pooled_ND=self._pool(tokens_NTD, mask_NT),
            tokens_NTD=tokens_NTD,
            mask_NT=mask_NT,
            states_NKD=stack_states(self.spec.name, states) if states else None,
            present_N=content.get("present"),
        )

    def _pool(self, tokens_NTD: Tensor, mask_NT: Tensor) -> Tensor:
        """One vector an item: (N, T, D) to (N, D)."""
        if self.pool in ("mean", "padded"):
            return mean_tokens(tokens_NTD, mask_NT if self.pool == "mean" else None)
        return last_token(tokens_NTD, mask_NT) if self.pool == "last" else tokens_NTD[:, 0]

    def _extras(self, mask_NT: Tensor) -> dict[str, Any]:
        """What XLNet wants besides: no memory of earlier batches, its class token in a segment of its own.

        Positions are relative there, so padding may stand on either side.
        """
        if not self.relative:
            return {}
        if not self.class_token_last:
            return {"use_mems": False}
        last_N1 = mask_NT.sum(dim=1, keepdim=True) - 1
        is_last_NT = torch.arange(mask_NT.shape[1], device=mask_NT.device) == last_N1
        return {"use_mems": False, "token_type_ids": is_last_NT.long() * _CLASS_SEGMENT}

    def _attended(self, mask_NT: Tensor) -> Tensor | None:
        """What may be attended to, in the form the network takes without asking the device anything."""
        if self.causal:
            return None  # padding comes last, so no real token sees it
        # Someone must be attended to, or the softmax of a row without tokens is NaN.
        mask_NT = mask_NT.clone()
        mask_NT[:, 0] = True
        return _wide(mask_NT, self.network.dtype) if mask_NT.shape[1] <= self.wide_up_to else mask_NT.long()

    @torch.no_grad()
    def _wide_mask_length(self, config: PretrainedConfig) -> int:
        """Longest title for which the network takes an additive mask (N, 1, 1, T).

        Such a mask skips the library's own mask making, which asks the device whether anything is padded.
        Networks that read masks in another way (DeBERTa) are told by their output; a window of attention
        would be lost beyond its reach.
        """
        ids = torch.tensor([[3, 4, 5], [3, 4, 5]]) % self.vocab_size
        mask = torch.tensor([[True, True, True], [True, True, False]])
        with evaluating(self):
            plain = self.network(input_ids=ids, attention_mask=mask.long()).last_hidden_state[mask]
            try:
                wide = self.network(input_ids=ids, attention_mask=_wide(mask, self.network.dtype))
            except (IndexError, RuntimeError, ValueError):  # the network says that it takes plain masks only
                return 0
        scale = float(plain.abs().max())
        if not torch.allclose(wide.last_hidden_state[mask], plain, rtol=0, atol=1e-5 * scale):
            return 0
        window = getattr(config, "local_attention", None) or getattr(config, "sliding_window", None)
        return int(window) // 2 if window else sys.maxsize


def _wide(mask_NT: Tensor, dtype: torch.dtype) -> Tensor:
    """Zero where attended, the lowest number elsewhere: (N, T) to (N, 1, 1, T)."""
    bias_NT = torch.zeros(mask_NT.shape, dtype=dtype, device=mask_NT.device)
    return bias_NT.masked_fill(~mask_NT, torch.finfo(dtype).min)[:, None, None, :]
