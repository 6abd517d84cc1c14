"""Entry point of the command ``bbb``: finds the verb, imports only its module, reports errors."""

import importlib
import os
import sys
from collections.abc import Sequence

from bbb.cli._memory import keep_freed_memory
from bbb.errors import BBBError

VERBS = {
    "train": "train a speaker-embedding extractor, plain or Bayesian",
    "extract": "turn utterances into embeddings",
    "plda": "train a PLDA back-end on embeddings",
    "score": "score a trial list with cosine or PLDA",
    "calibrate": "turn scores into log-likelihood ratios",
    "fuse": "fuse score files of several systems",
    "evaluate": "print EER, min-DCF and their intervals of a score file",
    "data": "validate, fix or pack a Kaldi data directory, write features",
}

_BIG = {"train", "extract"}  # verbs that make the same large tensors again and again


def usage() -> str:
    """The text of ``bbb --help``: a line per verb."""
    lines = [f"  {verb:10s} {help_}" for verb, help_ in VERBS.items()]
    return "\n".join(
        [
            "usage: bbb VERB [options]",
            "",
            "verbs:",
            *lines,
            "",
            "bbb VERB --help shows a verb's options.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: The words after ``bbb``; those of the process when None.

    Returns:
        0 on success, 1 when the verb found a bad option or input, 2 without a known verb, 130 when
        it was stopped (by Ctrl-C; a training also by SIGTERM).
    """
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except BrokenPipeError:  # who reads what is printed has seen enough, as head does
        return 1
    finally:
        _flush()


def _run(words: list[str]) -> int:
    """Run one verb, see ``main``.

    Raises:
        BrokenPipeError: If nobody reads what it prints.
    """
    if not words or words[0] in {"-h", "--help"}:
        print(usage())
        return 0 if words else 2
    verb = words[0]
    if verb not in VERBS:
        print(f"bbb: unknown verb '{verb}'\n\n{usage()}", file=sys.stderr)
        return 2
    # Threads that wait by spinning cost a hundred times the CPU of small matrices on a busy
    # machine. It has to be said before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if verb in _BIG:
        keep_freed_memory()
    try:
        result: int | None = importlib.import_module(f"bbb.cli.{verb}").main(words[1:])
    except ModuleNotFoundError as error:
        remedy = "pip install 'bayes-by-backprop[speech]'"
        print(f"bbb {verb}: {error}; all verbs need: {remedy}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except (BBBError, OSError) as error:
        print(f"bbb {verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"bbb {verb}: {str(error) or 'interrupted'}", file=sys.stderr)
        return 130
    return result or 0


def _flush() -> None:
    """Print what is left, or drop it where nobody reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    raise SystemExit(main())
