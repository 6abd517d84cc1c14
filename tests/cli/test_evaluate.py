"""``bbb evaluate``: the table, the JSON file, the picture, and honest errors."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bbb.cli.main import main
from bbb.scoring import bootstrap_ci, equal_error_rate, evaluate, min_dcf, paired_bootstrap

SPEAKERS, UTTS = 12, 3


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All pairs of 36 utterances: scores with labels, scores without, trials, utt2spk."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    rng = np.random.default_rng(0)
    ids = [f"s{k // UTTS}-{k % UTTS}" for k in range(SPEAKERS * UTTS)]
    first, second = np.triu_indices(len(ids), 1)
    same = first // UTTS == second // UTTS
    values = rng.normal(2.5 * same)
    labels = ["target" if yes else "nontarget" for yes in same]
    rows = [
        (ids[a], ids[b], v, t)
        for a, b, v, t in zip(first, second, values.tolist(), labels, strict=True)
    ]
    Path("scores").write_text("".join(f"{a} {b} {v!r} {t}\n" for a, b, v, t in rows))
    Path("plain").write_text("".join(f"{a} {b} {v!r}\n" for a, b, v, _ in rows[::-1]))
    Path("trials").write_text("".join(f"{a} {b} {t}\n" for a, b, _, t in rows))
    Path("utt2spk").write_text("".join(f"{key} {key.split('-')[0]}\n" for key in ids))
    np.savez("truth.npz", scores=values, same=same, first=first // UTTS, second=second // UTTS)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_json_holds_the_contract() -> None:
    words = ["evaluate", "scores", "--p-target", "0.01", "0.001", "--json", "out/result.json"]
    assert main(words) == 0
    report, truth = json.loads(Path("out/result.json").read_text()), np.load("truth.npz")
    assert (report["num_target"], report["num_nontarget"]) == (36, 594)
    assert report["eer"] == equal_error_rate(truth["scores"], truth["same"])
    assert set(report["min_dcf"]) == set(report["act_dcf"]) == {"0.01", "0.001"}
    assert report["min_dcf"]["0.01"] == min_dcf(truth["scores"], truth["same"])
    assert {"cllr", "min_cllr"} < set(report)
    assert not [key for key in report if key.endswith("_ci")]


@pytest.mark.usefixtures("folder")
def test_labels_may_come_from_the_trials() -> None:
    main(["evaluate", "scores", "--json", "one.json"])
    main(["evaluate", "plain", "--trials", "trials", "--json", "two.json"])
    assert Path("one.json").read_text() == Path("two.json").read_text()


@pytest.mark.usefixtures("folder")
def test_intervals_by_speaker_and_by_trial(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "scores", "--ci", "50", "--json", "result.json"]
    main([*words, "--utt2spk", "utt2spk"])
    assert "95 % interval by speaker" in capsys.readouterr().out
    report, truth = json.loads(Path("result.json").read_text()), np.load("truth.npz")
    interval = bootstrap_ci(
        truth["scores"],
        truth["same"],
        speakers=tuple(np.char.add("s", truth[side].astype(str)) for side in ("first", "second")),
        num_resamples=50,
    )
    assert report["eer_ci"] == [interval.low, interval.high]
    assert set(report["min_dcf_ci"]) == {"0.01", "0.001"}
    assert report["bootstrap"]["unit"] == "speaker"
    main(words)
    assert "95 % interval by trial" in capsys.readouterr().out
    assert json.loads(Path("result.json").read_text())["eer_ci"] != report["eer_ci"]


@pytest.mark.usefixtures("folder")
def test_table_and_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "scores", "--c-miss", "10", "--det", "det.png"]) == 0
    shown = capsys.readouterr().out
    for text in ("36 target, 594 nontarget trials", "EER", "min-DCF (0.01)", "act-DCF", "min-Cllr"):
        assert text in shown
    assert Path("det.png").stat().st_size > 2000


@pytest.mark.usefixtures("folder")
def test_presets_have_a_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "scores", "--preset", "sre16", "--json", "result.json"]) == 0
    report, truth = json.loads(Path("result.json").read_text()), np.load("truth.npz")
    costs = [min_dcf(truth["scores"], truth["same"], p) for p in (0.01, 0.005)]
    assert list(report["min_dcf"].values()) == costs
    assert report["min_dcf_mean"] == np.mean(costs)
    assert "min-DCF, mean" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_operating_points_with_costs() -> None:
    words = ["--p-target", "0.05", "0.01:10:1", "--c-fa", "2", "--det", "d.pdf"]
    main(["evaluate", "scores", *words, "--histogram", "h.png", "--json", "result.json"])
    report, truth = json.loads(Path("result.json").read_text()), np.load("truth.npz")
    assert report["min_dcf"] == {
        "0.05": min_dcf(truth["scores"], truth["same"], 0.05, 1.0, 2.0),
        "0.01:10:1": min_dcf(truth["scores"], truth["same"], 0.01, 10.0),
    }
    assert min(Path(name).stat().st_size for name in ("d.pdf", "h.png")) > 2000


@pytest.mark.usefixtures("folder")
def test_conditions_of_speakers(capsys: pytest.CaptureFixture[str]) -> None:
    genders = ["f" if k < 5 else "m" for k in range(SPEAKERS)]
    Path("gender").write_text("".join(f"s{k} {name}\n" for k, name in enumerate(genders)))
    words = ["evaluate", "scores", "--utt2spk", "utt2spk", "--conditions", "gender"]
    assert main([*words, "--json", "result.json"]) == 0
    report, truth = json.loads(Path("result.json").read_text()), np.load("truth.npz")
    assert list(report["conditions"]) == ["f", "f-m", "m"]
    assert report["conditions"]["f-m"] == {"num_target": 0, "num_nontarget": 15 * 21}
    female = (truth["first"] < 5) & (truth["second"] < 5)
    part = evaluate(truth["scores"][female], truth["same"][female])
    assert report["conditions"]["f"] == part
    shown = capsys.readouterr().out
    assert "pooled" in shown
    assert f"{part['eer']:.2%}" in shown


@pytest.mark.usefixtures("folder")
def test_names_of_conditions_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["[mic]", "[/tel]", "a:smile:b"]
    pairs = [line.split()[:2] for line in Path("trials").read_text().splitlines()]
    Path("condition").write_text(
        "".join(f"{a} {b} {names[k % 3]}\n" for k, (a, b) in enumerate(pairs))
    )
    assert main(["evaluate", "scores", "--conditions", "condition"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)


@pytest.mark.usefixtures("folder")
def test_conditions_of_a_nist_key() -> None:
    lines = [line.split() for line in Path("trials").read_text().splitlines()]
    rows = [(a, b, label, "yn"[k % 2]) for k, (a, b, label) in enumerate(lines)]
    header = ("modelid", "segmentid", "targettype", "phone_num_match")
    Path("key").write_text("".join("\t".join(row) + "\n" for row in (header, *rows)))
    words = ["evaluate", "plain", "--trials", "key", "--by", "phone_num_match"]
    assert main([*words, "--json", "result.json"]) == 0
    report, truth = json.loads(Path("result.json").read_text()), np.load("truth.npz")
    odd = np.arange(len(rows)) % 2 == 1
    assert report["conditions"]["n"] == evaluate(truth["scores"][odd], truth["same"][odd])


@pytest.mark.usefixtures("folder")
def test_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    truth = np.load("truth.npz")
    lines = [line.split() for line in Path("scores").read_text().splitlines()]
    other = truth["scores"] + np.random.default_rng(1).normal(size=len(lines))
    Path("other").write_text(
        "".join(f"{a} {b} {x!r}\n" for (a, b, *_), x in zip(lines, other.tolist(), strict=True))
    )
    words = ["evaluate", "scores", "--compare", "other", "--ci", "60", "--utt2spk", "utt2spk"]
    assert main([*words, "--det", "det.png", "--json", "result.json"]) == 0
    found = json.loads(Path("result.json").read_text())["comparison"]
    speakers = tuple(np.char.add("s", truth[side].astype(str)) for side in ("first", "second"))
    expected = paired_bootstrap(
        truth["scores"], other, truth["same"], speakers=speakers, num_resamples=60
    )
    assert found["eer"] == dataclasses.asdict(expected)
    assert (found["scores"], found["bootstrap"]["unit"]) == ("other", "speaker")
    assert set(found["min_dcf"]) == {"0.01", "0.001"}
    shown = capsys.readouterr().out
    for text in ("B: other", "B - A", "95 % interval by speaker", "p-value"):
        assert text in shown


@pytest.mark.usefixtures("folder")
def test_streamed_figures_are_the_same() -> None:
    main(["evaluate", "scores", "--json", "one.json", "--preset", "sre08"])
    main(["evaluate", "scores", "--json", "two.json", "--preset", "sre08", "--stream"])
    one, two = (json.loads(Path(name).read_text()) for name in ("one.json", "two.json"))
    assert one.pop("cllr") == pytest.approx(two.pop("cllr"), rel=1e-12)
    assert one == two


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scores", "--stream", "--ci", "5"], "forgets them, got --ci; leave one or the other"),
        (["plain", "--stream"], "plain:1: expected 'enroll test score target|nontarget'"),
        (["scores", "--preset", "sre99"], "preset needs one of voxceleb, sre08"),
        (["scores", "--p-target", "0.1:1"], "needs p_target or p_target:c_miss:c_fa, got '0.1:1'"),
        (["scores", "--by", "gender"], "expected a NIST header with 'gender', got none"),
        (["scores", "--compare", "trials"], "trials:1: expected a number as the score"),
        (["plain"], "plain has no labels; name the trial list with --trials"),
        (["none"], "none:0: no such file"),
        (["scores", "--det", "det.jpg"], "ending in .png, .pdf, .svg, got 'det.jpg'"),
        (["scores", "--p-target", "1.5"], "p_target needs a probability"),
        (["scores", "--ptarget", "0.1"], "; did you mean"),
        (["scores", "--utt2spk", "few"], "no speaker for 70 of 70: 's0-0'"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_faults(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("few").write_text("other speaker\n")
    assert main(["evaluate", *words, "--json", "result.json"]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("result.json").exists()


@pytest.mark.usefixtures("folder")
def test_nan_and_missing_trials(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Path("plain").read_text().splitlines()
    Path("plain").write_text("\n".join(lines[:-6]))
    assert main(["evaluate", "plain", "--trials", "trials"]) == 1
    assert "got none for 6 of 630: 's0-0 s0-1'" in capsys.readouterr().err
    Path("plain").write_text("\n".join([*lines, "a b nan"]))
    assert main(["evaluate", "plain", "--trials", "trials"]) == 1
    assert "plain:631: expected a number as the score, got 'nan'" in capsys.readouterr().err


def test_starts_fast_without_torch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(100_000) % 10 == 0
    values = rng.normal(2.0 * labels)
    path = tmp_path / "scores"
    path.write_text(
        "".join(
            f"m{k % 500} utterance-{k} {value:.6f} {'' if yes else 'non'}target\n"
            for k, (value, yes) in enumerate(zip(values, labels, strict=True))
        )
    )
    code = (
        "import sys; from bbb.cli.main import main\n"
        f"assert main(['evaluate', {str(path)!r}]) == 0\n"
        "assert not {'torch', 'lightning', 'matplotlib', 'polars'} & set(sys.modules)"
    )
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    # About 0.8 s on an idle machine; a busy one must not fail.
    assert time.monotonic() - start < 8
