"""Command lines with YAML files: wrong keys are named, with the nearest right one."""

import argparse
import contextlib
import dataclasses
import difflib
import io
import itertools
import re
import typing
from collections.abc import Iterator, Sequence

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace
from jsonargparse.typing import NonNegativeInt, PositiveInt

from bbb.errors import ConfigError

# How jsonargparse says it of a nested key, of a key in an optional group, of a key, of a flag.
_UNKNOWN = re.compile(
    r"Group '(?P<group>[\w.-]+)' does not accept option '(?P<option>[^']+)'"
    r"|Parser key \"(?P<optional>[\w.-]+)\".*?Option '(?P<field>[^']+)' is not accepted"
    r"|(?:Key|Option) '(?P<key>[^']+)' is not (?:expected|accepted)"
    r"|[Uu]nrecognized arguments: (?P<flag>\S+)"
)


# How Python says it of a number or a text that jsonargparse takes for a list.
_NO_LIST = re.compile("object (is not iterable|does not support item assignment)$")


class _Formatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Leaves the examples of a verb's description on lines of their own."""


def parse(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """Parse a verb's words.

    Args:
        parser: The verb's, made with ``exit_on_error=False``.
        argv: Words after the verb.

    Returns:
        Values by key.

    Raises:
        ConfigError: If a key is unknown or a value is of the wrong type.
    """
    # An abbreviation is a key that does not exist, and may become ambiguous with the next version.
    for each in _parsers(parser):
        each.allow_abbrev = False
    parser.formatter_class = _Formatter
    with _quiet() as printed:
        try:
            return parser.parse_args(list(argv))
        except ArgumentError as error:
            message = " ".join(str(error).split())
    match = _UNKNOWN.search(message)
    if match is None:
        files = " ".join(_config_files(argv))
        if _NO_LIST.search(message):
            msg = (
                f"{files}: expected a list for a key of several values, got one value; write [...]"
            )
            raise ConfigError(msg)
        wrong = re.sub("^(Problems parsing|Unexpected) config", f"{files}: not a mapping", message)
        raise ConfigError(wrong or printed.getvalue())
    raise ConfigError(_unknown_key(parser, {k: v for k, v in match.groupdict().items() if v}))


def add_parts(parser: ArgumentParser, help_suffix: str = "") -> None:
    """Add the flags of work that several processes share.

    Args:
        parser: The verb's.
        help_suffix: What else there is to say of ``--num-parts``.
    """
    parser.add_argument(
        *("--num_parts", "--num-parts"),
        type=PositiveInt,
        default=1,
        help=f"processes that share the work{help_suffix}",
    )
    parser.add_argument("--part", type=NonNegativeInt, default=0, help="which one this is, from 0")


def _unknown_key(parser: ArgumentParser, found: dict[str, str]) -> str:
    """The message for what ``_UNKNOWN`` found."""
    if "flag" in found:
        key = found["flag"].split("=")[0]
        actions = [action for each in _parsers(parser) for action in each._actions]  # noqa: SLF001 (no public list)
        names = [option for action in actions for option in action.option_strings]
    else:
        key = ".".join(found.values())
        names = list(_keys(parser))
    near = difflib.get_close_matches(key, names, n=1) or [
        name for name in names if name.split(".")[-1] == key.split(".")[-1]
    ]
    hint = f"; did you mean '{near[0]}'?" if near else "; see --help for all keys"
    return f"unknown key '{key}'{hint}"


def _parsers(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    """A verb's parser, and those of its own verbs."""
    yield parser
    for action in parser._actions:  # noqa: SLF001 (no public list)
        if isinstance(action.choices, dict):
            yield from action.choices.values()


def _keys(parser: ArgumentParser) -> Iterator[str]:
    """All keys of a YAML file, those of groups that may be null included."""
    for action in parser._actions:  # noqa: SLF001 (no public list)
        yield action.dest
        for kind in typing.get_args(getattr(action, "_typehint", None)):
            if dataclasses.is_dataclass(kind):
                yield from (f"{action.dest}.{field.name}" for field in dataclasses.fields(kind))


def _config_files(argv: Sequence[str]) -> Iterator[str]:
    """The YAML files on a command line."""
    for word, following in itertools.pairwise([*argv, ""]):
        if word == "--config":
            yield following
        elif word.startswith("--config="):
            yield word.removeprefix("--config=")


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """Keep the parser from printing its usage over our message."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        yield printed
