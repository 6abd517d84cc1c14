"""Options of a recipe: all keys of a YAML file are flags, and an unknown one is an error."""

import dataclasses
import re
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from jsonargparse import ArgumentParser

from bbb.commandline import parse
from bbb.errors import ConfigError

Options = TypeVar("Options")


def read_options(kind: type[Options], argv: Sequence[str], description: str | None) -> Options:
    """Read the command line, and the YAML files that it names with ``--config``.

    Args:
        kind: A dataclass of keyword arguments, each explained in one line under ``Attributes:`` of
            its docstring or a base's; ``num_samples`` is the flag ``--num-samples``. Later words
            win.
        argv: Words of the command line.
        description: For ``--help``.

    Returns:
        An object of that class.

    Raises:
        ConfigError: If a key is unknown, or a value of the wrong type.
    """  # noqa: DOC502 (by parse)
    documented = "\n".join(base.__doc__ or "" for base in reversed(kind.__mro__))
    texts = dict(re.findall(r"^ +(\w+): (.*)$", documented, re.MULTILINE))
    types = typing.get_type_hints(kind)
    parser = ArgumentParser(description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    names = []
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        extra: dict[str, Any] = {"type": types[field.name]}
        if typing.get_origin(types[field.name]) is list:
            extra = {"type": typing.get_args(types[field.name])[0], "nargs": "+"}
        if field.default_factory is not dataclasses.MISSING:
            extra["default"] = field.default_factory()
            # What is empty unless it is set may be set to empty.
            extra["nargs"] = "+" if extra["default"] else "*"
        elif field.default is not dataclasses.MISSING:
            extra["default"] = field.default
        else:
            extra["required"] = True
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, help=texts[field.name], **extra)
        names.append(field.name)
    found = parse(parser, argv).as_dict()
    return kind(**{name: found[name] for name in names})


def check_distinct(options: object, *names: str) -> None:
    """Refuse lists that are empty, or hold something twice, which intervals would count as two.

    Args:
        options: What was read.
        *names: Its lists.

    Raises:
        ConfigError: If there is such a list; it names it.
    """
    for name in names:
        values = getattr(options, name)
        if not values or len(set(values)) < len(values):
            msg = f"{name} needs one or more, and each once, got {values}"
            raise ConfigError(msg)
