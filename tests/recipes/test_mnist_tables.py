"""The tables of the MNIST recipe, and the statistics behind them."""

import numpy as np
import pytest
from scipy import stats

from bbb.errors import DataError
from recipes.common.statistics import interval_text, t_interval
from recipes.mnist import search, table


def fake_run(system, seed, error, *, units=400, **test):
    settings = {"system": system, "seed": seed, "units": units, "optimizer": "adam", "epochs": 3}
    settings |= {"data": "d", "num_valid": 5}
    figures = {"error": error, "nll": 0.1, "ece": 0.01}
    return {
        "settings": settings,
        "command": f"train --seed {seed}",
        "cpu_seconds": 90.0,
        "folder": "f",
        "test": {"mean": figures}
        | {key: figures | {"error": value} for key, value in test.items()},
        "last": {"valid": {"mean": figures}},
    }


class TestTables:
    def test_interval_is_students(self):
        values = [3.0, 5.0, 4.5]
        low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
        assert t_interval(values) == pytest.approx([np.mean(values), low, high])
        assert t_interval([3.0]) == [3.0, None, None]
        assert interval_text([0.01, None, None], ".1f", 100) == "1.0"
        assert interval_text([1, 0.5, 1.5]) == "1.00 (0.50 to 1.50)"

    def test_rows(self):
        runs = {
            "plain": [fake_run("sgd", 0, 0.02), fake_run("sgd", 1, 0.03)],
            "wide": [fake_run("sgd", 0, 0.5, units=800)],
            "bbb": [
                fake_run("mixture", 0, 0.015, draws=0.01),
                fake_run("mixture", 1, 0.025, draws=0.02),
            ],
        }
        rows = table.make_rows(runs)
        assert [(r["training"], r["weights"]) for r in rows] == [
            *(("plain", ""), ("wide", ""), ("bbb", "mean"), ("bbb", "draws"))
        ]
        draws = rows[-1]
        assert draws["error"][0] == pytest.approx(0.015)
        assert draws["less_sgd"] == pytest.approx([-0.01, -0.01, -0.01])
        assert rows[0]["less_sgd"] is rows[1]["less_sgd"] is None
        assert [row["paper"] for row in rows] == [1.83, 1.84, 1.36, 1.36]
        text = table.markdown(rows)
        assert "| bbb | mixture | 400 | 2 | draws | 1.50 (" in text
        assert "train --seed 0  # bbb" in text

    def test_search_is_by_validation_error(self):
        runs = [fake_run("mixture", seed, 0.1 * seed) for seed in (3, 1, 2)]
        rows = search.make_rows(runs)
        assert [row["settings"]["seed"] for row in rows] == [1, 2, 3]
        text = search.markdown(rows, 2)
        assert "| seed | error % (mean) | nll (mean) |" in text
        assert "Best 2 of 3" in text
        runs[0]["last"] = {}
        with pytest.raises(DataError, match="a search needs validation images, f had none"):
            search.make_rows(runs)
