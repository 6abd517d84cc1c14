import _lists
import numpy as np
import pytest

from bbb.errors import DataError

UTT2SPK = {"b1": "b", "a2": "a", "a1": "a", "b2": "b", "c1": "c"}


def pairs(trials):
    names = trials.utterances
    return [(names[i], names[j]) for i, j in zip(trials.enroll, trials.test, strict=True)]


def test_every_pair_once_and_no_utterance_with_itself():
    trials = _lists.all_pairs(UTT2SPK)
    assert len(trials) == 10
    assert len(set(map(frozenset, pairs(trials)))) == 10
    assert all(first < second for first, second in pairs(trials))


def test_targets_are_the_pairs_of_one_speaker():
    trials = _lists.all_pairs(UTT2SPK)
    targets = [p for p, same in zip(pairs(trials), trials.is_target, strict=True) if same]
    assert targets == [("a1", "a2"), ("b1", "b2")]


def test_pairs_of_one_session_are_left_out():
    sessions = {"a1": "s", "a2": "s", "b1": "t", "b2": "u", "c1": "v"}
    found = pairs(_lists.all_pairs(UTT2SPK, utt2session=sessions))
    assert ("a1", "a2") not in found
    assert ("b1", "b2") in found
    assert len(found) == 9


def test_nontargets_are_sampled_by_the_seed():
    many = {f"{s}-{n}": s for s in "abcdefgh" for n in range(4)}
    few = _lists.all_pairs(many, max_nontargets=50, seed=1)
    assert (~few.is_target).sum() == 50
    assert few.is_target.sum() == 8 * 6
    assert pairs(few) == pairs(_lists.all_pairs(many, max_nontargets=50, seed=1))
    assert pairs(few) != pairs(_lists.all_pairs(many, max_nontargets=50, seed=2))
    assert set(pairs(few)) <= set(pairs(_lists.all_pairs(many)))
    assert pairs(few) == sorted(pairs(few))


def test_a_limit_above_the_number_keeps_all():
    assert len(_lists.all_pairs(UTT2SPK, max_nontargets=1000)) == 10


@pytest.mark.parametrize(
    ("utt2spk", "counts"),
    [
        ({"a1": "a", "a2": "a"}, "give 1 target and 0 nontarget"),
        ({"a1": "a", "b1": "b"}, "give 0 target and 1 nontarget"),
        ({"a1": "a"}, "give 0 target and 0 nontarget"),
    ],
)
def test_one_kind_of_trial_is_not_enough(utt2spk, counts):
    with pytest.raises(DataError, match=counts + r".*at least two speakers"):
        _lists.all_pairs(utt2spk)


def test_file_has_kaldis_form(tmp_path):
    _lists.write_trials(tmp_path / "trials", _lists.all_pairs(UTT2SPK))
    lines = (tmp_path / "trials").read_text().splitlines()
    assert lines[0] == "a1 a2 target"
    assert lines[1] == "a1 b1 nontarget"
    assert len(lines) == 10


def test_long_lists_are_written_in_parts(tmp_path, monkeypatch):
    trials = _lists.all_pairs(UTT2SPK)
    _lists.write_trials(tmp_path / "whole", trials)
    monkeypatch.setattr(_lists, "_LINES_AT_ONCE", 3)
    _lists.write_trials(tmp_path / "parts", trials)
    assert (tmp_path / "parts").read_text() == (tmp_path / "whole").read_text()


def test_same_gender_list(tmp_path):
    genders = {"a1": "f", "a2": "f", "b1": "m", "b2": "m", "c1": "f"}
    _lists.write_trial_lists(tmp_path, _lists.all_pairs(UTT2SPK), genders)
    lines = (tmp_path / "trials_same_gender").read_text().splitlines()
    assert lines == ["a1 a2 target", "a1 c1 nontarget", "a2 c1 nontarget", "b1 b2 target"]
    assert len((tmp_path / "trials").read_text().splitlines()) == 10


def test_no_same_gender_list_where_all_are_of_one_gender(tmp_path):
    _lists.write_trial_lists(tmp_path, _lists.all_pairs(UTT2SPK), dict.fromkeys(UTT2SPK, "f"))
    assert [file.name for file in tmp_path.iterdir()] == ["trials"]


def test_both_compares_labels():
    trials = _lists.all_pairs(UTT2SPK)
    assert np.array_equal(trials.both(UTT2SPK), trials.is_target)
