"""DET plots: a picture appears, whole, and wrong input leaves none."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from bbb.errors import ConfigError, DataError
from bbb.scoring import plot_det

LABELS = np.arange(4000) % 10 == 0


def system(shift: float) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).normal(shift * LABELS), LABELS


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_pictures(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"det{suffix}"
    plot_det({"poor": system(1.0), "good": system(3.0)}, path, title="two systems")
    assert path.stat().st_size > 2000


def test_curves_show_the_scores(tmp_path: Path) -> None:
    pictures = []
    for number, shift in enumerate((2.0, 3.0)):
        plot_det({"system": system(shift)}, tmp_path / f"{number}.png")
        pictures.append(imread(tmp_path / f"{number}.png"))
    assert pictures[0].shape == pictures[1].shape
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize("scores", ["perfect", "tied", "reversed"])
def test_degenerate_systems_can_be_drawn(scores: str, tmp_path: Path) -> None:
    values = {"perfect": LABELS * 1.0, "tied": LABELS * 0.0, "reversed": LABELS * -1.0}[scores]
    plot_det({scores: (values, LABELS)}, tmp_path / "det.png")
    assert (tmp_path / "det.png").is_file()


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ending in \.png, \.pdf, \.svg, got '.*det.gif'"):
        plot_det({"a": system(1.0)}, tmp_path / "det.gif")
    with pytest.raises(DataError, match="NaN"):
        plot_det({"a": (np.full(4000, np.nan), LABELS)}, tmp_path / "det.png")
    assert not list(tmp_path.iterdir())
