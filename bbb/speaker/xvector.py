"""The x-vector network (Snyder et al. 2018), in the topology of Kaldi's recipe."""

from typing import Literal

import torch
from torch import Tensor, nn

from bbb.errors import ConfigError, ShapeError
from bbb.speaker.pooling import StatisticsPooling

# Kernel and dilation of frame1 .. frame5: contexts {-2..2}, {-2,0,2}, {-3,0,3}, {0}, {0}.
_CONTEXTS = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))


class TDNNLayer(nn.Module):
    """Affine map over a few frames, ReLU, batch normalisation: Kaldi's relu-batchnorm-layer.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        kernel_size: Frames that one output frame sees.
        dilation: Distance between them, in frames.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.affine = nn.Conv1d(in_channels, out_channels, kernel_size, dilation=dilation)
        self.activation = nn.ReLU(inplace=True)
        self.norm = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer, shape (batch, in_channels, frames) to (batch, out_channels, fewer)."""
        out: Tensor = self.norm(self.activation(self.affine(x)))
        return out


class SegmentLayer(nn.Module):
    """Affine map of a whole segment; ReLU and batch normalisation come when it is passed on.

    Args:
        in_features: Input size.
        out_features: Output size.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.affine = nn.Linear(in_features, out_features)
        self.activation = nn.ReLU()
        self.norm = nn.BatchNorm1d(out_features)

    def forward(self, x: Tensor) -> Tensor:
        """The affine map alone, shape (batch, in_features) to (batch, out_features)."""
        out: Tensor = self.affine(x)
        return out

    def activate(self, x: Tensor) -> Tensor:
        """ReLU and batch normalisation of what ``forward`` gave, same shape."""
        out: Tensor = self.norm(self.activation(x))
        return out


class XVector(nn.Module):
    """X-vector extractor.

    frame1 {-2..2}, frame2 {-2,0,2}, frame3 {-3,0,3}, frame4 and frame5 on one frame each,
    statistics pooling, segment6 whose affine output is the embedding, and segment7 in front of the
    softmax.
    With ``embed_from="segment6_norm"`` the network ends with a batch normalisation of segment6, and
    the head sits on the embedding itself: what margin heads want, since they train the cosine that
    scores it.

    Args:
        in_dim: Values per frame of features.
        channels: Of frame1 .. frame4; 512 in the paper.
        pooled_channels: Of frame5; 1500 in the paper.
        embed_dim: Size of the embedding and of segment7; 512 in the paper.
        embed_from: "segment6" (Snyder 2018) or "segment6_norm".
        dropout: Share of the head's inputs that training sets to zero.

    Raises:
        ConfigError: If ``embed_from`` is unknown.

    References:
        Snyder, Garcia-Romero, Sell, Povey, Khudanpur: X-vectors: Robust DNN embeddings for speaker
        recognition, ICASSP 2018.
    """

    frame1: TDNNLayer
    frame2: TDNNLayer
    frame3: TDNNLayer
    frame4: TDNNLayer
    frame5: TDNNLayer

    def __init__(  # noqa: PLR0917 (in the order of the layers)
        self,
        in_dim: int = 30,
        channels: int = 512,
        pooled_channels: int = 1500,
        embed_dim: int = 512,
        embed_from: Literal["segment6", "segment6_norm"] = "segment6",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if embed_from not in {"segment6", "segment6_norm"}:
            msg = f"XVector: embed_from is 'segment6' or 'segment6_norm', got '{embed_from}'"
            raise ConfigError(msg)
        self.in_dim = in_dim
        self.embed_dim = embed_dim
        self.embed_from = embed_from
        sizes = (in_dim, channels, channels, channels, channels, pooled_channels)
        for i, (kernel_size, dilation) in enumerate(_CONTEXTS):
            layer = TDNNLayer(sizes[i], sizes[i + 1], kernel_size, dilation)
            self.add_module(f"frame{i + 1}", layer)
        self.pooling = StatisticsPooling()
        if embed_from == "segment6":
            self.segment6 = SegmentLayer(2 * pooled_channels, embed_dim)
            self.segment7 = SegmentLayer(embed_dim, embed_dim)
        else:
            self.segment6 = SegmentLayer(2 * pooled_channels, embed_dim)
            self.segment6.activation = nn.Identity()  # type: ignore[assignment]
        self.dropout = nn.Dropout(dropout)

    @property
    def context_frames(self) -> int:
        """Frames that one output frame of frame5 sees: the shortest input."""
        return 1 + sum((kernel - 1) * dilation for kernel, dilation in _CONTEXTS)

    def forward(self, features: Tensor) -> Tensor:
        """Embed utterances.

        Args:
            features: Shape (batch, frames, in_dim).

        Returns:
            Embeddings, shape (batch, embed_dim).

        Raises:
            ShapeError: If the features have another size, or fewer frames than the context.
        """
        if features.ndim != 3 or features.shape[2] != self.in_dim:  # noqa: PLR2004 (its axes)
            msg = (
                f"XVector expects (batch, frames, {self.in_dim}), got {tuple(features.shape)}; "
                "set in_dim to the size of the features"
            )
            raise ShapeError(msg)
        if features.shape[1] < self.context_frames:
            msg = (
                f"XVector needs at least {self.context_frames} frames, got {features.shape[1]}; "
                "repeat or drop shorter utterances"
            )
            raise ShapeError(msg)
        x = features.transpose(1, 2)  # (batch, dim, frames)
        for layer in (self.frame1, self.frame2, self.frame3, self.frame4, self.frame5):
            x = layer(x)
        pooled = self.pooling(x)
        if not torch.is_autocast_enabled(x.device.type):
            pooled = pooled.to(x.dtype)  # all that a network in half precision takes
        x = self.segment6(pooled)
        return x if self.embed_from == "segment6" else self.segment6.activate(x)

    def head_input(self, embeddings: Tensor) -> Tensor:
        """What a classification head takes during training.

        Args:
            embeddings: What ``forward`` gave, shape (batch, embed_dim).

        Returns:
            The activated output of segment7, or the embeddings themselves for "segment6_norm";
            shape (batch, embed_dim).
        """
        if self.embed_from == "segment6":
            embeddings = self.segment7.activate(self.segment7(self.segment6.activate(embeddings)))
        dropped: Tensor = self.dropout(embeddings)
        return dropped
