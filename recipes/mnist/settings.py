"""Options of a training: all keys of a YAML file are flags, and an unknown one is an error."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import torch

from bbb.errors import ConfigError

# They change nothing about what is learnt.
NO_IDENTITY = {"folder", "save_every", "threads", "device"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Of a training; one that a system does not use is ignored.

    Attributes:
        folder: Where checkpoint, curve and results go.
        data: "digits" (scikit-learn's, enlarged), or MNIST's .npz (data_prep/mnist.py makes it).
        num_valid: Training images that are held out for validation; 0: train on all.
        pixel_scale: Pixels from 0 to 255 are divided by this.
        system: "sgd" (a plain net), "dropout", or a posterior: "gaussian" or "mixture" (its prior).
        units: Width of both hidden layers.
        seed: Of initial weights, order of images, and draws.
        epochs: Passes through the training images.
        batch_size: Images of a step; an epoch's incomplete last batch is left out.
        optimizer: "sgd" or "adam".
        lr: Step size for the mean loss of a batch (of the sum, divide by the batch size).
        rho_lr: Factor of the step size for the rho of a posterior; below 1, its noise stays longer.
        momentum: Of "sgd".
        schedule: Of the step size, "constant" or "cosine" (down to 0).
        dropout: Probability that a hidden unit is dropped.
        input_dropout: Probability that a pixel is dropped.
        num_samples: Draws of the weights for each step.
        kl_weight: Factor of the KL divergence; 1 is the evidence lower bound, less is tempering.
        kl_scheme: Share of the KL that each batch of an epoch has, "uniform" or "blundell".
        kl_every: Steps to one that has the KL, with so many times its weight; saves time.
        warmup: Share of the training over which the KL's factor grows from 0.
        prior_sigma: Standard deviation of the "gaussian" prior.
        pi: Share of the "mixture" prior's first component.
        sigma1: Standard deviation of its first component.
        sigma2: Standard deviation of its second component.
        sigma_init: Standard deviation of the posterior at the start.
        estimator: How layers draw, "auto", "weight", "local" or "flipout".
        eval_every: Epochs between two points of the validation curve.
        eval_samples: Draws of the weights behind such a point.
        test_samples: Draws of the weights behind the test figures; 0: leave the test set alone.
        save_every: Epochs between two checkpoints.
        threads: CPU threads.
        device: "cpu", or "cuda"; a resumed training is the same to the last bit on "cpu".
    """

    folder: Path = Path("exp/mnist/run")
    data: str = "digits"
    num_valid: int = 10_000
    pixel_scale: float = 126.0
    system: Literal["sgd", "dropout", "gaussian", "mixture"] = "mixture"
    units: int = 400
    seed: int = 0
    epochs: int = 100
    batch_size: int = 128
    optimizer: Literal["sgd", "adam"] = "adam"
    lr: float = 0.001
    rho_lr: float = 1.0
    momentum: float = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    dropout: float = 0.5
    input_dropout: float = 0.2
    num_samples: int = 1
    kl_weight: float = 1.0
    kl_scheme: Literal["uniform", "blundell"] = "uniform"
    kl_every: int = 1
    warmup: float = 0.0
    prior_sigma: float = 0.1
    pi: float = 0.5
    sigma1: float = 1.0
    sigma2: float = 0.0025
    sigma_init: float = 0.02
    estimator: Literal["auto", "weight", "local", "flipout"] = "auto"
    eval_every: int = 5
    eval_samples: int = 5
    test_samples: int = 100
    save_every: int = 5
    threads: int = 1
    device: str = "cpu"

    @property
    def bayesian(self) -> bool:
        """Whether the weights have a posterior."""
        return self.system in {"gaussian", "mixture"}

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this training another one than others; plain values."""
        found = dataclasses.asdict(self)
        return {key: value for key, value in found.items() if key not in NO_IDENTITY}

    def check(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            ConfigError: If a number is out of range, or the device is not there.
        """
        at_least_1 = ("units", "epochs", "batch_size", "num_samples", "eval_every", "eval_samples")
        least = dict.fromkeys((*at_least_1, "kl_every", "save_every", "threads"), 1)
        least |= dict.fromkeys(("num_valid", "test_samples", "momentum", "rho_lr"), 0)
        for name, value in least.items():
            if getattr(self, name) < value:
                msg = f"{name} has to be >= {value}, got {getattr(self, name)}"
                raise ConfigError(msg)
        for name in ("pixel_scale", "lr"):
            if not getattr(self, name) > 0:
                msg = f"{name} has to be > 0, got {getattr(self, name)}"
                raise ConfigError(msg)
        on_gpu = self.device.startswith("cuda") and torch.cuda.is_available()
        if self.device != "cpu" and not on_gpu:
            msg = f"device '{self.device}' is not there; use cpu"
            raise ConfigError(msg)
        if self.kl_every > 1 and self.kl_scheme != "uniform":
            msg = f"kl_every has to be 1 where kl_scheme is '{self.kl_scheme}', got {self.kl_every}"
            raise ConfigError(msg)
        for name in ("dropout", "input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                msg = f"{name} has to be in [0, 1), got {getattr(self, name)}"
                raise ConfigError(msg)
