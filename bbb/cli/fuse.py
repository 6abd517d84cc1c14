"""``bbb fuse``: fuse score files of several systems on the same trials."""

from typing import Literal

from jsonargparse import ArgumentParser

from bbb.cli._parse import parse

_HELP = """Fuse the scores of several systems, matched by trial.

Example:
  bbb fuse exp/a/plda.scores exp/b/plda.scores --output exp/fusion/plda.scores

The mean of the scores, each system standardised to mean 0 and standard deviation 1 over the list.
"""


def make_parser() -> ArgumentParser:
    """The options of ``bbb fuse``."""
    parser = ArgumentParser(prog="bbb fuse", description=_HELP, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the keys below")
    parser.add_argument("scores", type=str, nargs="+", help="score files of at least two systems")
    parser.add_argument("--method", type=Literal["mean"], default="mean")
    parser.add_argument("--output", type=str, required=True, help="score file to write")
    return parser


def main(argv: list[str]) -> None:
    """Run the verb.

    Args:
        argv: Words after ``bbb fuse``.

    Raises:
        BBBError: If an option or a file is wrong, or the trials of the systems differ.
    """  # noqa: DOC502 (raised by what it calls)
    args = parse(make_parser(), argv)
    from bbb.cli._bar import bar  # noqa: PLC0415 (--help needs none of these)
    from bbb.scoring.fusion import fuse_mean  # noqa: PLC0415
    from bbb.scoring.scores import read_scores, write_scores  # noqa: PLC0415

    with bar("reading", len(args.scores)) as progress:
        systems = []
        for path in args.scores:
            systems.append(read_scores(path))
            progress(1)
    fused = fuse_mean(systems, args.scores)
    with bar("writing", len(fused)) as progress:
        write_scores(args.output, fused, progress=progress)
    print(f"wrote {len(fused)} fused scores of {len(systems)} systems to {args.output}")
