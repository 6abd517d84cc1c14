"""Networks of the variational autoencoder of embeddings, and what they minimise."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from bbb._gaussian.divergence import gaussian_kl, gaussian_log_prob, sum_of_squares
from bbb._gaussian.draw import draw_gaussian
from bbb._numerics import inverse_softplus, softplus, standard_normal

ROWS_AT_ONCE = 4096


class Autoencoder(nn.Module):
    """Encoder, decoder and observation noise; arguments as of `VAENormalizer`.

    Args:
        dim: Dimensions of an embedding.
        code_dim: Dimensions of a code.
        hidden: Units of each hidden layer of the encoder, and of the decoder.
        obs_sigma: Standard deviation of an embedding given its code, or "learned".
        cohesion: Weight of the cohesive term.
        sampling: Whether the code is drawn, and the divergence counts.
        generator: Of the initial weights.
    """

    def __init__(
        self,
        dim: int,
        code_dim: int,
        hidden: Sequence[int],
        *,
        obs_sigma: float | Literal["learned"],
        cohesion: float,
        sampling: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.encoder = mlp((dim, *hidden, 2 * code_dim), generator)
        self.decoder = mlp((code_dim, *hidden, dim), generator)
        start = torch.tensor(1.0 if obs_sigma == "learned" else obs_sigma, dtype=torch.float32)
        self.obs_rho = nn.Parameter(
            inverse_softplus(start), requires_grad=bool(obs_sigma == "learned")
        )
        self.cohesion, self.sampling = cohesion, sampling

    def loss(self, x: Tensor, centres: Tensor | None, generator: torch.Generator) -> Tensor:
        """Nats, summed over a batch (batch, dim), whose speakers' centres are (batch, code_dim)."""
        mu, rho = encode(self.encoder, x)
        loss = x.new_zeros(())
        z = mu
        if self.sampling:
            # Pathwise; sigma = softplus(rho) cannot overflow, as exp(log-variance) can.
            z = draw_gaussian(mu, rho, standard_normal(mu.shape, mu, generator))
            loss = gaussian_kl(mu, rho, 1.0)
        if centres is not None:
            loss = loss + 0.5 * self.cohesion * sum_of_squares(mu - centres)
        errors = (x - self.decoder(z)) / softplus(self.obs_rho)
        return loss - gaussian_log_prob(self.obs_rho, errors).sum()


def mlp(sizes: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Linear layers with ELUs between them, initialised by ``generator`` alone."""
    layers: list[nn.Module] = []
    for inp, out in pairwise(sizes):
        linear = nn.Linear(inp, out, device="meta", dtype=torch.float32).to_empty(device="cpu")
        nn.init.xavier_uniform_(linear.weight, generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ELU()]
    return nn.Sequential(*layers[:-1])


def encode(encoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and rho of q, each (utterances, code_dim)."""
    mu, rho = encoder(x).chunk(2, dim=1)
    return mu, rho


def mean_codes(encoder: nn.Module, x: Tensor) -> Tensor:
    """Codes (utterances, code_dim); in parts, as hidden layers may be wider than embeddings."""
    with torch.no_grad():
        return torch.cat([encode(encoder, part)[0] for part in torch.split(x, ROWS_AT_ONCE)])


def centres_of(encoder: nn.Module, x: Tensor, speakers: Tensor) -> Tensor:
    """Mean code of each utterance's speaker, (utterances, code_dim)."""
    codes = mean_codes(encoder, x)
    sums = codes.new_zeros(int(speakers.max()) + 1, codes.shape[1]).index_add_(0, speakers, codes)
    return (sums / torch.bincount(speakers)[:, None])[speakers]
