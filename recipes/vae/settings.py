"""Options of a training: all keys of a YAML file are flags, and an unknown one is an error."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from images import Images
from jsonargparse import ArgumentParser

from bbb.cli._parse import parse  # noqa: PLC2701 (same repository)
from bbb.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Of a run.

    Attributes:
        data: "digits", or an .npz file such as MNIST's (see data_prep/mnist.py).
        binarization: "threshold" at half the largest value, or "fixed": drawn once.
        latent: Family of z.
        latent_size: Dimensions of z, and of a categorical one its classes.
        hidden: Units of the encoder's hidden layers; the decoder's are these in reverse.
        num_samples: Draws per image where an estimator's name says none.
        tau: Temperature of relaxed draws; where it falls, the last, after 3/4 of the steps.
        steps: Training steps.
        batch_size: Images of a step.
        lr: Step size of Adam.
        log_every: Steps between two points of the training curve.
        measure_every: Steps between two measurements of the gradient's noise; 0: never.
        replicas: Gradients of such a measurement.
        bound_samples: K of the test set's importance-weighted bound.
        save_every: Steps between two checkpoints.
        threads: CPU threads.
    """

    data: str = "digits"
    binarization: Literal["threshold", "fixed"] = "threshold"
    latent: Literal["gaussian", "bernoulli", "categorical"] = "bernoulli"
    latent_size: list[int] = dataclasses.field(default_factory=lambda: [32])
    hidden: list[int] = dataclasses.field(default_factory=list)
    num_samples: int | None = None
    tau: float = 0.5
    steps: int = 1200
    batch_size: int = 64
    lr: float = 0.003
    log_every: int = 50
    measure_every: int = 200
    replicas: int = 30
    bound_samples: int = 200
    save_every: int = 400
    threads: int = 1

    def check(self, images: Images) -> None:
        """Refuse what cannot be trained.

        Raises:
            ConfigError: If a number is out of range, or the latent size does not fit.
        """
        axes = 2 if self.latent == "categorical" else 1
        if len(self.latent_size) != axes or min(self.latent_size, default=0) < 1:
            what = "variables and classes" if axes == 2 else "one number"  # noqa: PLR2004
            msg = f"latent_size of a {self.latent} z is {what}, got {self.latent_size}"
            raise ConfigError(msg)
        if self.batch_size > len(images.train):
            msg = f"batch_size is {self.batch_size}, with {len(images.train)} training images"
            raise ConfigError(msg)
        least = {"replicas": 2 if self.measure_every else 0, "measure_every": 0}
        least |= dict.fromkeys(("steps", "batch_size", "log_every", "bound_samples"), 1)
        least |= dict.fromkeys(("save_every", "threads"), 1)
        for name, value in least.items():
            if getattr(self, name) < value:
                msg = f"{name} has to be >= {value}, got {getattr(self, name)}"
                raise ConfigError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Of the command: what is trained, and where it goes."""

    settings: Settings
    estimator: list[str]
    seeds: list[int]
    exp_dir: Path
    reference: Path | None


def read_options(argv: Sequence[str], description: str | None) -> Options:
    """Read the command line and its YAML file.

    Args:
        argv: Words of the command line.
        description: For ``--help``.

    Returns:
        The options.

    Raises:
        ConfigError: If a key is unknown, or a value of the wrong type.
    """  # noqa: DOC502 (by parse)
    texts = dict(re.findall(r"^ +(\w+): (.*)$", Settings.__doc__ or "", re.MULTILINE))
    parser = ArgumentParser(description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    parser.add_argument("--exp-dir", type=Path, default=Path("exp/vae"), help="results")
    parser.add_argument("--reference", type=Path, help="JSON of published figures, for the table")
    parser.add_argument(
        "--estimator", nargs="+", default=["rloo-4"], help="names, such as rloo-4 or gumbel"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run for each")
    defaults = Settings()
    fields = {field.name: field.type for field in dataclasses.fields(Settings)}
    for name, kind in fields.items():
        default = getattr(defaults, name)
        many = {"type": int, "nargs": "*"} if isinstance(default, list) else {"type": kind}
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, default=default, help=texts[name], **many)
    found = parse(parser, argv).as_dict()
    settings = Settings(**{name: found[name] for name in fields})
    others = (field.name for field in dataclasses.fields(Options) if field.name != "settings")
    return Options(settings=settings, **{name: found[name] for name in others})
