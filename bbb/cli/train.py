"""``bbb train``: train a speaker-embedding extractor from a YAML file and flags."""

import dataclasses

from jsonargparse import ArgumentParser, Namespace

from bbb.commandline import parse
from bbb.errors import ConfigError
from bbb.speaker.config import TrainConfig

_HELP = """Train a speaker-embedding extractor, plain or Bayesian.

Example:
  bbb train --config conf/xvector.yaml --data data/train --output exp/x --seed 1

A killed training goes on from its last checkpoint when the same command is given again; one that
is done is left alone. Ctrl-C, SIGTERM and SIGUSR1 let a step end, save, and exit with status 130.

On 2 machines with 4 GPUs each:
  torchrun --nnodes 2 --nproc-per-node 4 ... -m bbb.cli.main train ... --devices 4 --nodes 2
  srun --nodes 2 --ntasks-per-node 4 bbb train ... --devices 4 --nodes 2
"""


def make_parser() -> ArgumentParser:
    """The options: every key of ``TrainConfig`` is a flag."""
    parser = ArgumentParser(prog="bbb train", description=_HELP, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    parser.add_class_arguments(TrainConfig, as_group=False)
    return parser


def main(argv: list[str]) -> None:
    """Run the verb.

    Args:
        argv: Words after ``bbb train``.

    Raises:
        ConfigError: If a group of keys is a single value.
    """
    parser = make_parser()
    parsed = parse(parser, argv)
    for field in dataclasses.fields(TrainConfig):
        # The parser lets "network: 3" pass.
        if dataclasses.is_dataclass(field.type) and not isinstance(parsed[field.name], Namespace):
            msg = f"key '{field.name}' is a group of keys, got {parsed[field.name]}; see --help"
            raise ConfigError(msg)
    values = parser.instantiate(parsed).as_dict()
    del values["config"]
    config = TrainConfig(**values)
    from lightning.pytorch.utilities import rank_zero_only  # noqa: PLC0415 (slow to import)

    from bbb.speaker.train import train  # noqa: PLC0415

    best = train(config)
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        print(f"wrote {best}")
