import os
import signal

import numpy as np
import pytest

from bbb.cli.main import main
from bbb.errors import ConfigError
from bbb.scoring import all_pairs, cluster
from bbb.scoring.cosine import pair_dots
from bbb.scoring.mapping import map_dots

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", protocol="tcp"
        ) as local,
        distributed.Client(local) as connected,
    ):
        yield connected


@pytest.fixture(scope="module")
def sides():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 200, 16)).astype(np.float32)
    return left, right, *rng.integers(200, size=(2, 20_000))


def test_dots_on_a_cluster_are_those_of_one_run(client, sides):
    done = []
    scores = map_dots(cluster.ClusterMap(client), *sides, trials=1500, progress=done.append)
    np.testing.assert_array_equal(scores, pair_dots(*sides))
    assert sum(done) == len(scores)


def test_a_killed_worker_changes_nothing(client, sides):
    pids = list(client.run(os.getpid).values())

    def kill_once(_):
        if pids:
            os.kill(pids.pop(), signal.SIGKILL)
            pids.clear()

    scores = map_dots(cluster.ClusterMap(client), *sides, trials=500, progress=kill_once)
    np.testing.assert_array_equal(scores, pair_dots(*sides))


def test_all_pairs_counted_on_a_cluster_give_the_figures_of_one_run(client, monkeypatch):
    monkeypatch.setattr(all_pairs, "PAIRS", 10_000)
    rng = np.random.default_rng(1)
    speakers = rng.integers(20, size=300)
    rows = rng.normal(size=(20, 8))[speakers] + rng.normal(size=(300, 8))
    args = rows, rows, speakers, speakers
    one = all_pairs.count_all_pairs(*args, each_once=True, points=[0.01])
    many = all_pairs.count_all_pairs(
        *args, each_once=True, points=[0.01], mapper=cluster.ClusterMap(client)
    )
    assert one.num_target + one.num_nontarget == 300 * 299 / 2
    for figure in ("equal_error_rate", "min_dcf", "act_dcf", "cllr", "min_cllr"):
        assert getattr(one, figure)() == getattr(many, figure)()


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(2)
    owner = np.repeat(np.arange(20), 5)
    ids = [f"s{who}-{number}" for number, who in enumerate(owner)]
    rows = rng.normal(size=(20, 6))[owner] + rng.normal(size=(100, 6))
    np.savez(tmp_path / "x.npz", ids=ids, embeddings=rows)
    (tmp_path / "utt2spk").write_text(
        "".join(f"{utt} s{who}\n" for utt, who in zip(ids, owner, strict=True))
    )
    (tmp_path / "trials").write_text("".join(f"{a} {b} target\n" for a in ids for b in ids))
    return tmp_path


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_verbs_write_the_same_with_a_scheduler(client, files):
    x, utt2spk = str(files / "x.npz"), str(files / "utt2spk")
    address = client.scheduler.address
    for where, more in (("here", []), ("there", ["--scheduler", address])):
        out = files / where
        out.mkdir()
        plda = ["--backend", "plda", "--plda", str(out / "plda.npz")]
        sides = ["--enroll", x, "--test", x]
        trials = ["--trials", str(files / "trials")]
        train = ["--embeddings", x, "--utt2spk", utt2spk, "--lda-dim", "4"]
        for words in (
            ["plda", *train, "--output", plda[-1]],
            ["score", *plda, *sides, *trials, "--output", str(out / "scores")],
            ["score", *plda, *sides, "--all-pairs", utt2spk, "--output", str(out / "pairs.json")],
        ):
            assert main([*words, *more]) == 0
    for name in ("scores", "pairs.json"):
        assert (files / "here" / name).read_bytes() == (files / "there" / name).read_bytes()


def test_an_address_without_a_scheduler_is_refused():
    with pytest.raises(ConfigError, match="needs the address of a Dask scheduler, got 'nowhere'"):
        cluster.connect("nowhere")


def test_no_workers_is_an_error():
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as local,
        pytest.raises(ConfigError, match="has no workers"),
    ):
        cluster.connect(local.scheduler_address)
