"""Speaker embeddings: networks, heads, training, extraction.

The networks and heads know nothing of Bayes: ``bbb.bayesianize`` makes their layers Bayesian.
Lightning is imported only where training needs it.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from bbb.speaker.binary import BinaryHead
    from bbb.speaker.checkpoint import load_network
    from bbb.speaker.codes import BinaryCodes
    from bbb.speaker.config import BayesConfig, NetworkConfig, OptimConfig, TrainConfig
    from bbb.speaker.extract import extract_embeddings
    from bbb.speaker.heads import AAMSoftmax, AMSoftmax, Softmax
    from bbb.speaker.module import SpeakerModule
    from bbb.speaker.pooling import StatisticsPooling
    from bbb.speaker.train import train
    from bbb.speaker.vae import VAENormalizer
    from bbb.speaker.xvector import XVector

__all__ = [
    "AAMSoftmax",
    "AMSoftmax",
    "BayesConfig",
    "BinaryCodes",
    "BinaryHead",
    "NetworkConfig",
    "OptimConfig",
    "Softmax",
    "SpeakerModule",
    "StatisticsPooling",
    "TrainConfig",
    "VAENormalizer",
    "XVector",
    "extract_embeddings",
    "load_network",
    "train",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "binary": ["BinaryHead"],
        "checkpoint": ["load_network"],
        "codes": ["BinaryCodes"],
        "config": ["BayesConfig", "NetworkConfig", "OptimConfig", "TrainConfig"],
        "extract": ["extract_embeddings"],
        "heads": ["AAMSoftmax", "AMSoftmax", "Softmax"],
        "module": ["SpeakerModule"],
        "pooling": ["StatisticsPooling"],
        "train": ["train"],
        "vae": ["VAENormalizer"],
        "xvector": ["XVector"],
    },
)
