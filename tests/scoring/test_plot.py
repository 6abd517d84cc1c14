"""DET plots: a picture appears, whole, and wrong input leaves none."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy.special import ndtr, ndtri

from bbb.errors import ConfigError, DataError
from bbb.scoring import OperatingPoint, act_dcf, min_dcf, plot_det, plot_scores, threshold_at

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


def lines(axes: Axes, mark: str) -> list[tuple[float, float]]:
    """False alarms and misses of the points with a mark."""
    marked = [line for line in axes.lines if line.get_marker() == mark and len(line.get_xdata())]
    return [(ndtr(line.get_xdata()[0]), ndtr(line.get_ydata()[0])) for line in marked]  # type: ignore[index]


def test_any_path_is_a_name(tmp_path: Path) -> None:
    axes = Figure().add_subplot()
    names = ["_scores", "exp/$a_{x/$b", "ordinary"]
    plot_det(dict.fromkeys(names, system(2.0)), axes)
    shown = [text.get_text().strip().replace("\\$", "$") for text in axes.get_legend().get_texts()]
    assert [text.split(":")[0] for text in shown] == names
    plot_det(dict.fromkeys(names, system(2.0)), tmp_path / "det.png")


def test_operating_points_are_marked_where_their_costs_are() -> None:
    axes = Figure().add_subplot()
    scores, labels = system(2.0)
    points = [OperatingPoint(0.1), OperatingPoint(0.5)]
    plot_det({"a": (scores, labels), "b": system(1.0)}, axes, points=["0.1", 0.5])
    for mark, metric in (("s", min_dcf), ("x", act_dcf)):
        found = lines(axes, mark)
        assert len(found) == 4
        for point, (fpr, fnr) in zip(points, found, strict=False):
            p = point.p_target
            cost = (p * fnr + (1 - p) * fpr) / p
            assert cost == pytest.approx(metric(scores, labels, p), abs=1e-5)
    low, high = axes.get_xlim()
    for rates in lines(axes, "s") + lines(axes, "x"):
        assert all(low < place < high for place in ndtri(rates))
    assert any("0.1, 0.5" in text.get_text() for text in axes.get_legend().get_texts())


def test_large_curves_are_thinned_but_not_moved() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(200_000) < 0.5
    axes = Figure().add_subplot()
    plot_det({"a": (rng.normal(2.0 * labels), labels)}, axes)
    line = axes.lines[0]
    assert 1000 < len(line.get_xdata()) < 30_000
    # Gaussians of equal spread give a straight line of slope -1, through 2 in all.
    inner = np.abs(line.get_xdata()) < 2.0
    assert np.sum((line.get_xdata(), line.get_ydata()), axis=0)[inner] == pytest.approx(
        -2.0, abs=0.2
    )


def test_histograms_have_area_one_and_thresholds(tmp_path: Path) -> None:
    scores, labels = system(2.0)
    scores[0] = 1e6
    scores[1] = -np.inf
    axes = Figure().add_subplot()
    plot_scores(scores, labels, axes, points=[0.1], title="scores")
    for patch in axes.patches:
        values, edges, _ = patch.get_data()  # type: ignore[attr-defined]
        assert (values * np.diff(edges)).sum() == pytest.approx(1.0)
        assert edges[-1] < 10
    found = [line.get_xdata()[0] for line in axes.lines]  # type: ignore[index]
    assert found == [threshold_at(scores, labels), threshold_at(scores, labels, 0.1)]
    for values in (LABELS * 1.0, LABELS * 0.0, np.where(LABELS, np.inf, -np.inf)):
        plot_scores(values, LABELS, tmp_path / "histogram.svg")
    with pytest.raises(ConfigError, match=r"a histogram needs a path ending in"):
        plot_scores(scores, labels, tmp_path / "h.gif")


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
