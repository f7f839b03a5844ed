"""Shared attention between the reference branch and the denoiser, as diffusers attention processors.

The reference branch writes the normalised hidden states of every self-attention under the block's name; the denoiser
reads those of the same name and attends to its own and the reference's tokens jointly, through its own key and value
projections (the ReferenceNet scheme). Control features are added to the inputs of the query and key projections, so
that a point on the head attends to the same point on the reference head.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, scaled_dot_product_attention

CONTROL_GAIN = 4.0
"""Initial scale of the control in queries and keys, equal in both: from the first iteration on, a point on the head
attends to the same point on the reference."""


def pool_control(control: Tensor, sizes: tuple[int, ...]) -> dict[int, Tensor]:
    """Average control maps [B, C, H, H] down to each square size n: {n * n: [B, n * n, C]}."""
    size = control.shape[-1]
    pooled = {n: control if n == size else avg_pool2d(control, size // n) for n in sizes}
    return {n * n: maps.flatten(2).transpose(1, 2) for n, maps in pooled.items()}


@dataclass
class Reference:
    """Output of the reference branch for the denoiser."""

    control: dict[int, Tensor]
    """Control tokens of the reference pictures by number of tokens L: [R, L, C]."""
    states: dict[str, Tensor] = field(default_factory=dict)
    """Normalised hidden states by block name: [R, L, D]."""


@dataclass(frozen=True)
class Exchange:
    """Inputs of one forward pass of a U-Net to its self-attentions."""

    control: dict[int, Tensor]
    """Control tokens of this pass by number of tokens: [B, L, C]."""
    write: Reference | None = None
    read: Reference | None = None
    n_targets: int = 1
    """B = R * n_targets; picture b belongs to reference b // n_targets."""


def projections(attn: Attention) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
    """Return the query, key, value and output layers, which diffusers declares as optional."""
    assert attn.to_q is not None and attn.to_k is not None and attn.to_v is not None and attn.to_out is not None
    return attn.to_q, attn.to_k, attn.to_v, attn.to_out[0]


class SharedSelfAttention(nn.Module):
    """Self-attention that writes to or reads from an `Exchange` and uses control features."""

    def __init__(self, name: str, inner_dim: int, n_heads: int, control_channels: int) -> None:
        super().__init__()
        self.name = name
        self.control_q = nn.Linear(control_channels, inner_dim, bias=False)
        self.control_k = nn.Linear(control_channels, inner_dim, bias=False)
        for head in self.control_q.weight.detach().chunk(n_heads):
            nn.init.orthogonal_(head, gain=CONTROL_GAIN)
        self.control_k.weight.detach().copy_(self.control_q.weight)

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        exchange: Exchange | None = None,
    ) -> Tensor:
        """Compute self-attention over hidden_states [B, L, D]; without an exchange, diffusers' plain attention."""
        if exchange is None:
            return AttnProcessor2_0()(attn, hidden_states, encoder_hidden_states, attention_mask)
        control = exchange.control[hidden_states.shape[1]]
        to_q, to_k, to_v, to_out = projections(attn)
        query = to_q(hidden_states) + self.control_q(control)
        key = to_k(hidden_states) + self.control_k(control)
        value = to_v(hidden_states)
        if exchange.write is not None:
            exchange.write.states[self.name] = hidden_states
        if exchange.read is not None:
            states = exchange.read.states[self.name]
            reference_key = to_k(states) + self.control_k(exchange.read.control[states.shape[1]])
            reference_value = to_v(states)
            n = exchange.n_targets
            key = torch.cat([key, reference_key.repeat_interleave(n, 0)], dim=1)
            value = torch.cat([value, reference_value.repeat_interleave(n, 0)], dim=1)
        heads = [x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value)]
        mixed = scaled_dot_product_attention(heads[0], heads[1], heads[2]).transpose(1, 2).flatten(2)
        return to_out(mixed)


class TokenAttention:
    """Cross-attention to a context of one token: softmax over one key is 1, so queries and keys have no effect."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        exchange: Exchange | None = None,
    ) -> Tensor:
        """Return [B, 1, D], to be broadcast over tokens, for a context [B, 1, E]; otherwise diffusers' attention."""
        if encoder_hidden_states is None or encoder_hidden_states.shape[1] != 1:
            return AttnProcessor2_0()(attn, hidden_states, encoder_hidden_states, attention_mask)
        _, _, to_v, to_out = projections(attn)
        return to_out(to_v(encoder_hidden_states))


def set_shared_attention(unet: UNet2DConditionModel, control_channels: int) -> None:
    """Set a `SharedSelfAttention` under its name on each self-attention of `unet`, `TokenAttention` on the others."""
    processors: dict[str, SharedSelfAttention | TokenAttention] = {}
    for name in unet.attn_processors:
        block = name.removesuffix(".processor")
        attention = unet.get_submodule(block)
        assert isinstance(attention, Attention)
        if block.endswith("attn1"):
            processors[name] = SharedSelfAttention(block, attention.inner_dim, attention.heads, control_channels)
        else:
            processors[name] = TokenAttention()
            # They have no effect for a context of one token, so they receive no gradient.
            for projection in projections(attention)[:2]:
                projection.requires_grad_(False)
    unet.set_attn_processor(processors)  # pyright: ignore[reportArgumentType]
