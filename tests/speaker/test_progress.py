"""Progress: nothing but lines in a log file."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bbb.speaker.progress import LineProgress, Progress


def trainer(step: int, steps: int = 10) -> Any:
    return SimpleNamespace(
        global_step=step,
        max_steps=steps,
        callback_metrics={"loss": torch.tensor(1.25), "accuracy": torch.tensor(0.5)},
    )


def test_lines_come_by_time_and_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = LineProgress(seconds=10.0)
    now[0] += 50.0  # the speech is read
    progress.on_train_start(trainer(0), SimpleNamespace())  # type: ignore[arg-type]
    for step in range(1, 11):
        now[0] += 4.0
        progress.on_train_batch_end(trainer(step), SimpleNamespace())  # type: ignore[arg-type]
    lines = capsys.readouterr().err.splitlines()
    # After 12, 24 and 36 seconds, and with the last step.
    assert [line.split(":")[0] for line in lines] == [f"step {i}/10" for i in (3, 6, 9, 10)]
    assert lines[0] == "step 3/10: loss 1.250, accuracy 0.500, 0.2 steps/s"


def test_a_resumed_run_counts_its_own_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = LineProgress(seconds=10.0)
    progress.on_train_start(trainer(500, 1000), SimpleNamespace())  # type: ignore[arg-type]
    now[0] += 10.0
    progress.on_train_batch_end(trainer(520, 1000), SimpleNamespace())  # type: ignore[arg-type]
    assert capsys.readouterr().err.endswith(", 2.0 steps/s\n")


@pytest.mark.parametrize("step", [5, 10])
def test_a_disabled_one_is_silent(capsys: pytest.CaptureFixture[str], step: int) -> None:
    progress = LineProgress(seconds=0.0)
    progress.disable()
    progress.on_train_batch_end(trainer(step), SimpleNamespace())  # type: ignore[arg-type]
    assert not capsys.readouterr().err


def test_the_parts_of_a_step_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress = LineProgress(seconds=0.0)
    for step in (1, 1, 2, 2):
        progress.on_train_batch_end(trainer(step), SimpleNamespace())  # type: ignore[arg-type]
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_no_bar_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading") as progress:
        for done in range(1, 4):
            progress.update(done, 3)
    with Progress("nothing"):
        pass
    assert capsys.readouterr().err == ""


def test_no_bar_of_a_process_that_does_not_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress("reading", shown=False) as progress:
        progress.update(1, 1)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress("reading") as progress:
        for done in range(1, 4):
            progress.update(done, 3)
    shown = capsys.readouterr().err
    assert "reading" in shown
    assert "3/3" in shown
