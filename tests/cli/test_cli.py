"""The command line: exit codes, messages, the JSON of the public contract."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.cli.app import run
from graphprune.cli.evaluate import EvaluateOptions
from graphprune.cli.groups import GROUPS
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from tests.conftest import MODELS
from tests.oracles import Perceptron

TINY, A = str(MODELS / "mnist-tiny.onnx"), str(MODELS / "mnist-a.onnx")
IMAGES = str(MODELS / "mnist-test-100.npz")


def test_evaluate_writes_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, points = tmp_path / "r.json", tmp_path / "p.npz"
    code = run([
        "evaluate", TINY, "--anchors", IMAGES, "--limit", "2", "--json", str(out),
        "--save-points", str(points), "--time-limit", "60",
        "--estimate", "prune-constant{gamma=0.5}", "--estimate", "linearize-secant{layers=1}",
    ])  # fmt: skip
    assert code == 0
    document = json.loads(out.read_text())
    assert document["schema"] == "graphprune/1"
    assert set(document["model"]) == {"path", "sha256", "neurons", "parameters"}
    assert [a["index"] for a in document["anchors"]] == [0, 1]
    network = gp.load(TINY)
    anchors = gp.load_anchors(IMAGES, network)
    for record in document["anchors"]:
        assert record["status"] == "ok"
        assert record["predicted"] == record["label"]
        adv, rob, bnd = record["d_adv"], record["d_rob"], record["d_bnd"]
        assert rob["value"] <= bnd["lower"] <= bnd["upper"] <= adv["value"]
        assert bnd["status"] == "exact"
        assert rob["method"] == "crown"
        assert {e["metric"] for e in record["estimates"]} == {"d_rob", "d_bnd"}
        for estimate in record["estimates"]:
            assert estimate["seconds"] >= estimate["prune_seconds"]
            assert estimate["neurons_left"] < network.neurons
            if estimate["spec"].startswith("linearize") and estimate["metric"] == "d_bnd":
                assert estimate["value"] <= adv["value"] * 1.001
    assert set(document["summary"]) >= {"mean", "median", "seconds"}
    with np.load(points) as saved:
        assert set(saved.files) == {"index", "metric", "target", "tie", "x"}
        for index, metric, target, x in zip(
            *(saved[k] for k in ("index", "metric", "target", "x")), strict=True
        ):
            record = document["anchors"][index]
            value = record["d_adv"]["value"] if metric == "d_adv" else record["d_bnd"]["upper"]
            difference = x.astype(float) - anchors[index].x.astype(float)
            assert np.max(np.abs(difference)) == value
            for logits in (run_original(network, x[None])[0], forward64(network, x[None])[0][0]):
                assert logits[target] >= logits[record["label"]]
    captured = capsys.readouterr()
    assert "2 anchors, 2 ok, 2 exact" in captured.out
    assert "anchor 1/2  d_adv" in captured.err


def test_json_may_be_printed_instead_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    toy, points = str(MODELS / "toy-2d.onnx"), str(MODELS / "toy-2d-anchors.npz")
    assert run(["attack", toy, "--anchors", points, "--limit", "1", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["ok"] == 1
    assert not Path("-").exists()


def test_several_models_are_runs(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    args = ["--anchors", IMAGES, "--limit", "1", "--metrics", "rob", "--json", str(out), "--quiet"]
    assert run(["evaluate", TINY, A, *args]) == 0
    document = json.loads(out.read_text())
    assert [Path(r["model"]["path"]).stem for r in document["runs"]] == ["mnist-tiny", "mnist-a"]
    assert all(r["schema"] == "graphprune/1" for r in document["runs"])


def test_a_misclassified_anchor_is_a_result(tmp_path: Path) -> None:
    with np.load(IMAGES) as data:
        labels = data["y"][:2].copy()
        labels[0] = (labels[0] + 1) % 10
        np.savez(tmp_path / "a.npz", x=data["x"][:2], y=labels)
    out = tmp_path / "r.json"
    code = run(["evaluate", TINY, "--anchors", str(tmp_path / "a.npz"), "--metrics", "adv,rob,bnd",
                "--json", str(out), "--quiet"])  # fmt: skip
    assert code == 0
    document = json.loads(out.read_text())
    first = document["anchors"][0]
    assert first["status"] == "misclassified"
    assert first["d_adv"]["value"] == first["d_rob"]["value"] == first["d_bnd"]["upper"] == 0
    assert document["summary"]["misclassified"] == 1
    assert document["anchors"][1]["status"] == "ok"


def test_an_interval_is_exit_code_1(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    args = ["--anchors", IMAGES, "--limit", "1", "--time-limit", "1", "--json", str(out), "--quiet"]
    assert run(["distance", A, *args]) == 1
    bnd = json.loads(out.read_text())["anchors"][0]["d_bnd"]
    assert bnd["status"] == "interval"
    assert bnd["lower"] < bnd["upper"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["evaluate", "no.onnx", "--anchors", IMAGES], "no.onnx: no such file"),
        (["evaluate", TINY, "--anchors", "no.npz"], "no.npz: no such file"),
        (["evaluate", IMAGES, "--anchors", IMAGES], "not an ONNX model"),
        (["evaluate", TINY, "--anchors", TINY], "not an anchors file"),
        (["evaluate", TINY, "--anchors", IMAGES, "--metrics", "dav"], "--metrics: unknown value 'dav'"),
        (["evaluate", TINY, "--anchors", IMAGES, "--method", "crwn"], "did you mean 'crown'"),
        (["evaluate", TINY, "--anchors", IMAGES, "--estimate", "prune-constnt"], "did you mean 'prune-constant'"),
        (["evaluate", TINY, "--anchors", IMAGES, "--index", "100"], "anchors 0 to 99"),
        (["evaluate", TINY, "--anchors", IMAGES, "--index", "x"], "--index takes numbers"),
        (["evaluate", TINY, "--anchors", IMAGES, "--index", "7-3"], "7-3 ends before it begins"),
        (["evaluate", TINY, "--anchors", IMAGES, "--time-limit", "soon"], "'soon' is no duration"),
        (["passes", "prune-stabel"], "did you mean 'prune-stable'"),
        (["evaluate", TINY, "--anchors", IMAGES, "--domain", "1,0"], "LO must be below HI"),
        (["evaluate", TINY, "--anchors", IMAGES, "--domain", "0.2,0.3"], "outside the domain"),
        (["evaluate", TINY, "--anchors", IMAGES, "--json", "/no/r.json"], "/no does not exist"),
        (["evaluate", TINY, "--anchors", IMAGES, "--time-limit", "-1"], "--time-limit must be"),
        (["evaluate", TINY, "--anchors", IMAGES, "--radius", "0"], "--radius must be positive"),
        (["evaluate", TINY, "--anchors", IMAGES, "--memory", "inf"], "--memory must be a positive number"),
        (["evaluate", TINY, "--anchors", IMAGES, "--worker-memory", "inf"], "--worker-memory must be"),
        (["evaluate", TINY, "--anchors", IMAGES, "--json", "-", "--json-lines"], "both print"),
        (["evaluate", TINY, "--anchors", IMAGES, "--scheduler", "a:1", "--workers", "2"], "workers of its own"),
        (["evaluate", TINY], "Missing option"),
        (["opt", TINY, "-o", "/no/o.onnx"], "/no does not exist"),
        (["opt", TINY, "-o", "/tmp/o.onnx", "--passes", "fuse-afine"], "did you mean 'fuse-affine'"),
        (["opt", TINY, "-o", "/tmp/o.onnx", "--passes", "attack"], "needs an anchor"),
        (["inspect", "no.onnx"], "no such file"),
        (["evalute"], "no command 'evalute'; did you mean 'evaluate'?"),
        (["experiment", "rum"], "no command 'experiment rum'; did you mean 'experiment run'?"),
        (["evaluate", TINY, "--anchor", IMAGES], "no option --anchor; did you mean '--anchors'?"),
    ],
)  # fmt: skip
def test_bad_usage_is_one_message_and_exit_code_2(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err + captured.out


def test_opt_writes_a_file_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.onnx"
    code = run(["opt", TINY, "-o", str(out), "--anchors", IMAGES, "--index", "1", "--timing",
                "--passes", "bounds{radius=0.03}, prune-stable, fuse-affine"])  # fmt: skip
    assert code == 0
    onnx.checker.check_model(str(out), full_check=True)
    before, after = gp.load(TINY), gp.load(out)
    assert after.live_neurons < before.live_neurons
    anchor = gp.load_anchors(IMAGES, before)[1]
    expected = run_original(before, anchor.x[None])
    assert np.allclose(run_original(after, anchor.x[None]), expected, atol=1e-4)
    captured = capsys.readouterr()
    assert "living neurons 346 -> " in captured.out
    assert "prune-stable" in captured.err


def test_opt_without_passes_writes_the_canonical_form(tmp_path: Path) -> None:
    assert run(["opt", A, "-o", str(tmp_path / "c.onnx"), "--quiet"]) == 0
    assert gp.load(tmp_path / "c.onnx").parameters == gp.load(A).parameters


def test_inspect_lists_every_unsupported_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Perceptron.random(np.random.default_rng(0), [3, 4, 4, 2]).model()
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Bernoulli"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert run(["inspect", str(tmp_path / "m.onnx")]) == 2
    out = capsys.readouterr().out
    assert "unsupported 2" in out
    assert "Bernoulli, 2 nodes ('h0', 'h1'): draws" in out
    assert run(["inspect", TINY]) == 0
    assert "348 in 3 activation layers" in capsys.readouterr().out


def test_passes_lists_options_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["passes"]) == 0
    out = capsys.readouterr().out
    for expected in (
        "prune-constant",
        "gamma=0.75",
        "step=0.05",
        "linearize-secant",
        "fuse-affine",
    ):
        assert expected in out


def test_one_pass_is_told_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["passes", "prune-constant"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("prune-constant\n")
    assert "fuse-affine" not in text.splitlines()
    assert len(text) > 400


def test_inspect_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", TINY, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["living"] == sum(layer["living"] for layer in found["layers"])
    assert found["output"] == {"name": "logits", "classes": 10, "below": ""}
    assert not found["unsupported"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("evaluate --method alpha", ["alpha-crown"]),
        ("evaluate --estimate prune-c", ["prune-constant"]),
        ("passes fuse", ["fuse-affine"]),
        ("evaluate --effort ", ["fast", "standard", "thorough"]),
    ],
)
def test_a_shell_completes_values(
    words: str,
    offered: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("_GRAPHPRUNE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"graphprune {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
    with pytest.raises(SystemExit):
        run([])
    assert capsys.readouterr().out.split() == offered


def test_the_help_of_options_is_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"─ {group} ─") for group in GROUPS]
    assert places == sorted(places)
    assert text.index("--time-limit") > places[list(GROUPS).index("Limits")]
    names = {name for group in GROUPS.values() for name in group}
    declared = [f.name for f in fields(EvaluateOptions)]
    assert set(declared) - names == {"models"}


def test_anchors_and_times_are_written_as_people_do(tmp_path: Path) -> None:
    toy, points = str(MODELS / "toy-2d.onnx"), str(MODELS / "toy-2d-anchors.npz")
    out = tmp_path / "r.json"
    args = ["evaluate", toy, "--anchors", points, "--metrics", "adv", "--json", str(out)]
    assert run([*args, "--index", "1-3,7", "--time-limit", "2m", "--quiet"]) == 0
    found = json.loads(out.read_text())
    assert [record["index"] for record in found["anchors"]] == [1, 2, 3, 7]
    assert found["settings"]["time_limit"] == 120.0


def test_workers_give_the_same_numbers(tmp_path: Path) -> None:
    documents = []
    for workers in ("1", "2"):
        out = tmp_path / f"{workers}.json"
        args = ["--anchors", IMAGES, "--limit", "3", "--metrics", "adv,rob", "--quiet"]
        assert run(["evaluate", TINY, *args, "--workers", workers, "--json", str(out)]) == 0
        documents.append(json.loads(out.read_text())["anchors"])
    for one, two in zip(*documents, strict=True):
        assert one["d_adv"]["value"] == two["d_adv"]["value"]
        assert one["d_rob"]["value"] == two["d_rob"]["value"]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "graphprune", "evaluate", TINY, A, "--anchors", IMAGES,
         "--limit", "2", "--time-limit", "600", "--json", str(out)],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    certified = 0
    for line in process.stderr:
        certified += "  d_rob  " in line
        if certified == 3:
            break
    # Its distance takes longer than the process is waited for: only Ctrl-C ends it in time.
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in err
    # What the third anchor has is kept: its interval is what attack and certificate leave open.
    first, second = (run["anchors"] for run in json.loads(out.read_text())["runs"])
    assert [record["d_bnd"]["status"] for record in first] == ["exact", "exact"]
    (record,) = second
    bnd = record["d_bnd"]
    assert record["interrupted"] or bnd["status"] == "interval"
    assert record["d_rob"]["value"] <= bnd["lower"] < bnd["upper"]
    assert bnd["upper"] <= record["d_adv"]["value"]


@pytest.mark.skipif(os.name == "nt", reason="pipes")
@pytest.mark.parametrize("options", [[], ["--json-lines"]])
def test_a_reader_that_leaves_is_no_error(tmp_path: Path, options: list[str]) -> None:
    """As ``| head -1``: files are written all the same, and nothing is said."""
    toy, points = str(MODELS / "toy-2d.onnx"), str(MODELS / "toy-2d-anchors.npz")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "graphprune", "evaluate", toy, "--anchors", points,
               "--metrics", "adv", "--limit", "3", "--json", str(tmp_path / "r.json")]  # fmt: skip
    done = subprocess.run(
        [*command, *options], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == 141
    assert [line for line in done.stderr.splitlines() if not line.startswith("anchor ")] == []
    assert (tmp_path / "r.json").exists() == (not options)  # events are for whoever listens


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_is_told_by_every_command() -> None:
    """Even where Typer would end without a word."""
    code = "import signal, graphprune.cli.app as a, graphprune.pipeline.text as t;"
    code += "t.known_passes = lambda: signal.raise_signal(2)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; raise SystemExit(a.run(['passes']))"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "graphprune: interrupted\n")


def test_python_dash_m_and_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graphprune", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"graphprune {gp.__version__}"


def test_norms_of_distances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.json"
    asked = ["distance", TINY, "--anchors", IMAGES, "--norm", "l2", "--radius", "0.01"]
    assert run([*asked, "--limit", "1", "--json", str(out)]) == 0
    document = json.loads(out.read_text())
    assert document["settings"]["norm"] == "l2"
    assert document["anchors"][0]["d_bnd"]["status"] == "robust"
    assert run([*asked, "--limit", "1", "--certificate", str(tmp_path / "proof.gpc")]) == 0
    assert run(["check", str(tmp_path / "proof.gpc"), TINY]) == 0
    assert "distance > 0.01, in l2" in capsys.readouterr().out
    assert run(["attack", TINY, "--anchors", IMAGES, "--norm", "l3"]) == 2
    assert "unknown value 'l3'" in capsys.readouterr().err


def test_no_limit_may_be_said_as_infinity(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    args = [
        "--anchors",
        IMAGES,
        "--limit",
        "1",
        "--time-limit",
        "inf",
        "--json",
        str(out),
        "--quiet",
    ]
    assert run(["attack", TINY, *args]) == 0
    assert json.loads(out.read_text())["settings"]["time_limit"] is None


def test_an_estimate_of_a_metric_that_is_not_asked_for_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--anchors", IMAGES, "--limit", "1", "--metrics", "adv", "--sound", "--quiet"]
    assert run(["evaluate", TINY, *args]) == 0
    said = capsys.readouterr().err
    assert "'sound' is left out: it estimates bnd, and --metrics is adv" in said


def test_points_of_several_networks_say_whose_they_are(tmp_path: Path) -> None:
    points = tmp_path / "p.npz"
    args = ["--anchors", IMAGES, "--limit", "1", "--save-points", str(points), "--quiet"]
    other = tmp_path / "other.onnx"
    assert run(["opt", TINY, "-o", str(other), "--for", "verifier", "--quiet"]) == 0
    assert run(["evaluate", TINY, str(other), "--metrics", "adv", *args]) == 0
    with np.load(points) as saved:
        assert saved["model"].tolist() == [gp.load(f).source.sha256 for f in (TINY, other)]


@pytest.mark.parametrize("command", ["attack", "opt"])
def test_verbose_says_where_graphs_run(command: str, tmp_path: Path) -> None:
    more = ["-o", str(tmp_path / "o.onnx"), "--passes", "bounds{radius=0.01}"]
    args = ["--anchors", IMAGES, *(more if command == "opt" else ["--limit", "1"]), "--verbose"]
    done = subprocess.run(
        [sys.executable, "-m", "graphprune", command, TINY, *args], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "ONNX Runtime runs on" in done.stderr
