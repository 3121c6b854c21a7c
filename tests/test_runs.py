"""What follows from the scored clips of a run, worked out in another way; the files that keep it; its pages."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from oddwatch.errors import RunError, UsageError
from oddwatch.evaluate.run import calibrated, share_of, summarise
from oddwatch.report import run_figures, write_run_report, write_runs_report
from oddwatch.runs import Plane, RunEvaluation, ScoredClip, read_evaluation, write_evaluation
from oddwatch.types import Failure

ERRORS: dict[str, dict[str, list[float]]] = {
    "train": {"a": [1, 2, 3], "b": [2, 3, 4]},
    "validation": {"a": [2.5, 3.5], "b": [4.5]},
    "test": {"a": [2, 5], "b": [3, 9]},
    "anomaly": {"$odd <x>": [4, 6, 7], "odder": [10, 1]},
}
CENTROIDS = {"a": 0.0, "b": 10.0}
"""Of a space of one dimension, in which a clip's place is its error."""


def made(**changes: Any) -> RunEvaluation:
    clips = [
        ScoredClip(f"{split}/{action}/{i}.avi", action, split, float(error), {"embedding": far, "latent": far})
        for split, classes in ERRORS.items()
        for action, errors in classes.items()
        for i, error in enumerate(errors)
        for far in [tuple(abs(error - centre) for centre in CENTROIDS.values())]
    ]
    epochs = tuple(
        {
            "epoch": str(i),
            "backbone": "small",
            "tensors_learning": str(3 * (i > 1)),
            "learning_rate": "0.001",
            "train_loss": str(9 - i),
            "validation_loss": str(10 - i),
            "embedding_variance": "2",
            "latent_usage": "",
            "seconds": "1.5",
        }
        for i in range(4)
    )
    found = RunEvaluation(
        name="run",
        backbone="small",
        untrained=False,
        clips=tuple(clips),
        classes=tuple(CENTROIDS),
        areas=(),
        thresholds=(),
        failures=(),
        settings={"epochs": 4, "fine_tune": {"tensors": "never"}},
        epochs=epochs,
        best_epoch=3,
        checkpoint="0" * 64,
    )
    return summarise(replace(found, **changes), threshold=4.0, false_alarms="30%")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No drawing: it takes nearly all of the time."""
    png = cv2.imencode(".png", np.zeros((1, 1, 3), dtype=np.uint8))[1].tobytes()
    monkeypatch.setattr(run_figures, "png_of", lambda figure: png)


def flat(split: str) -> list[float]:
    return [float(e) for errors in ERRORS[split].values() for e in errors]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_areas_count_pairs(split: str) -> None:
    odd, normal = flat("anomaly"), flat(split)
    pairs = [1.0 if o > n else 0.5 if o == n else 0.0 for o in odd for n in normal]
    area = next(a for a in made().areas if (a.by, a.split) == ("error", split))
    assert (area.anomalous, area.normal) == (len(odd), len(normal))
    assert area.auroc == pytest.approx(sum(pairs) / len(pairs))


def test_thresholds_of_the_error() -> None:
    given, usual, hindsight = (row for row in made().thresholds if row.by == "error")
    assert (given.kind, given.value) == ("given", 4.0)
    assert given.accuracy == {"train": 5 / 6, "validation": 2 / 3, "test": 0.5, "anomaly": 0.8}
    # 30% of 3 + 1 is one: just above the highest of the three.
    assert (usual.kind, usual.value) == ("calibrated", np.nextafter(4.5, np.inf))
    assert usual.chosen == "30% false alarms, calibrated on 3 validation clips"
    assert (hindsight.kind, "in view" in hindsight.chosen) == ("hindsight", True)
    mean = max(
        np.mean([np.mean(np.array(flat("test")) < t), np.mean(np.array(flat("anomaly")) >= t)])
        for t in np.linspace(0, 11, 1101)
    )
    assert np.mean([hindsight.accuracy["test"], hindsight.accuracy["anomaly"]]) == pytest.approx(mean)


def test_nothing_but_validation_clips_calibrates() -> None:
    """Other test and anomalous clips leave the calibrated thresholds as they are, and move those in hindsight."""
    found = made()
    moved = tuple(replace(c, error=c.error + 50) if c.split in ("test", "anomaly") else c for c in found.clips)
    other = made(clips=moved)
    for kind, same in (("calibrated", True), ("hindsight", False)):
        values = [next(r.value for r in f.thresholds if (r.by, r.kind) == ("error", kind)) for f in (found, other)]
        assert (values[0] == values[1]) == same


def test_by_distance_a_clip_is_anomalous_when_it_is_far_from_all_centroids() -> None:
    row = next(r for r in made().thresholds if (r.by, r.kind) == ("latent", "calibrated"))
    assert row.value == np.nextafter(4.5, np.inf)  # validation: 2.5, 3.5, and 4.5 from 0
    assert row.accuracy["anomaly"] == 0.0  # 4, 6, 7, 10 and 1 are at most 4 from 0 or from 10
    assert row.accuracy["test"] == 0.75  # 5 is 5 from both


def test_too_few_clips_to_calibrate_are_said() -> None:
    value, says = calibrated(np.array([1.0, 2.0, 3.0]), share_of("5%"))
    assert value > 3
    assert says == "5% false alarms, calibrated on 3 validation clips, extrapolated: they are too few to certify it"
    with pytest.raises(RunError, match="all validation clips score 0"):
        calibrated(np.zeros(5), share_of("5%"))
    with pytest.raises(UsageError, match="a clip has no clock"):
        share_of("2/day")


def test_without_anomalous_clips() -> None:
    normal = tuple(clip for clip in made().clips if clip.split != "anomaly")
    found = made(clips=normal)
    assert [area.auroc for area in found.areas] == [None] * 9
    assert {row.kind for row in found.thresholds} == {"given", "calibrated"}
    assert all(row.accuracy["anomaly"] is None for row in found.thresholds)


def test_a_method_without_embeddings() -> None:
    """Clips with errors alone: no distances anywhere."""
    found = made(clips=tuple(replace(clip, distances={}) for clip in made().clips))
    assert found.spaces == ()
    assert {row.by for row in found.thresholds} == {"error"}


def test_files_give_back_what_was_found(tmp_path: Path) -> None:
    found = made(failures=(Failure("gone.avi", "no such file"),))
    assert read_evaluation(tmp_path) is None
    write_evaluation(found, tmp_path)
    again = read_evaluation(tmp_path)
    assert again is not None
    assert {**vars(again)} == {**vars(found)}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "clips.csv").read_text())))
    assert len(rows) == len(found.clips)
    row = next(row for row in rows if row["path"] == "test/b/0.avi")  # error 3: 3 from a, 7 from b
    assert [row[f"latent_{c}"] for c in ("own", "nearest", "nearest_class", "to_a", "to_b")] == [
        *("7.0", "3.0", "a", "3.0", "7.0")
    ]
    odd = next(row for row in rows if row["split"] == "anomaly")
    assert (odd["label"], odd["latent_own"], odd["latent_nearest"]) == ("anomalous", "", "4.0")
    record = json.loads((tmp_path / "evaluation.json").read_text())
    (tmp_path / "evaluation.json").write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(RunError, match="another version"):
        read_evaluation(tmp_path)
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(RunError, match=r"evaluation\.json is damaged .*: delete it and evaluate the run again"):
        read_evaluation(tmp_path)


def test_the_page_of_a_run(tmp_path: Path, quick: None) -> None:
    planes = tuple(Plane(s, np.zeros((16, 2)), np.arange(16)) for s in ("embedding", "latent"))
    found = made(untrained=True, backbone="small (untrained backbone)", planes=planes, failures=(Failure("x", "y"),))
    page = write_run_report(found, tmp_path).read_text()
    assert "<script" not in page
    assert 'src="data:' in page
    assert "<x>" not in page
    assert "Untrained backbone: its weights are random" in page
    assert page.count("small (untrained backbone)") == 1 + 7 + 9  # the summary, thresholds, areas
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "centroid-distances-embedding.png",
        "centroid-distances-latent.png",
        "error-by-class.png",
        "error-by-split.png",
        "learning-curves.png",
        "precision-recall.png",
        "roc.png",
        "tsne-embedding.png",
        "tsne-latent.png",
    ]
    few = made(clips=tuple(replace(c, distances={}) for c in found.clips if c.split != "anomaly"), epochs=())
    page = write_run_report(few, tmp_path).read_text()
    assert "no anomalous clips, so nothing here says what would be found" in page
    assert "ntrained" not in page
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "error-by-class.png",
        "error-by-split.png",
    ]


def test_runs_side_by_side(tmp_path: Path, quick: None) -> None:
    tuned = {"fine_tune": {"tensors": 3, "from_epoch": 2, "target": "anchor"}, "optimiser": {"learning_rate": 0.01}}
    runs = [made(), made(name="tuned", settings=tuned, untrained=True, backbone="small (untrained backbone)")]
    page = write_runs_report(runs, tmp_path).read_text()
    assert "tuned: untrained backbone" in page
    assert "do not compare" not in page
    first, second = csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text()))
    assert (first["learns"], second["learns"]) == ("autoencoder", "and 3 tensors from epoch 2")
    assert (second["target"], second["learning rate"], second["validation loss"]) == ("anchor", "0.01", "7.000")
    assert float(first["training, s"]) == 6.0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "thresholds.csv").read_text())))
    assert len(rows) == 14
    assert {row["run"]: row["backbone"] for row in rows} == {"run": "small", "tuned": "small (untrained backbone)"}
    others = made(clips=tuple(clip for clip in made().clips if clip.path != "test/a/0.avi"))
    assert "do not compare" in write_runs_report([made(), others], tmp_path).read_text()


def test_a_fine_tuned_run_stands_below_its_frozen_one() -> None:
    def one(backbone: str, tensors: Any) -> RunEvaluation:
        return made(name=f"{backbone} {tensors}", backbone=backbone, settings={"fine_tune": {"tensors": tensors}})

    runs = [one("motion", "never"), *(one(name, tensors) for name in "xyz" for tensors in ("never", 3))]
    assert [[found and found.name for found in row] for row in run_figures._in_rows(runs)] == [
        ["x never", "y never", "z never", "motion never"],
        ["x 3", "y 3", "z 3", None],
    ]
    twice = [one("x", 3), one("x", 4), one("x", "never"), one("y", "never")]
    assert [[found and found.name for found in row] for row in run_figures._in_rows(twice)] == [
        ["x never", "y never", None],
        ["x 3", None, "x 4"],
    ]
    assert [[found and found.name for found in row] for row in run_figures._in_rows(runs[1:4])] == [
        ["x never", "y never", "x 3"]
    ]


def test_curves_have_plain_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    def note(figure: Any) -> bytes:
        drawn.append(figure)
        return b""

    monkeypatch.setattr(run_figures, "png_of", note)
    for factor in (1, 0.001, 300):
        rows = tuple({**row, "train_loss": str(float(row["train_loss"]) ** 2 * factor)} for row in made().epochs)
        run_figures.learning_curves(made(epochs=rows))
        axes = drawn[-1].axes[0]
        assert axes.get_yscale() == "log"
        drawn[-1].canvas.draw()
        low, high = axes.get_ylim()
        labels = [t.get_text() for t in axes.get_yticklabels(which="both") if low <= t.get_position()[1] <= high]
        numbers = [float(label.replace(",", "")) for label in labels if label]
        assert len(numbers) >= 2
        assert all(low <= number <= high for number in numbers)


@pytest.mark.slow
def test_figures_are_drawn(tmp_path: Path) -> None:
    """A picture each, and not an empty one; also of an untrained run, whose figures differ by those words."""
    rng = np.random.default_rng(0)
    planes = (Plane("latent", rng.normal(size=(16, 2)), np.arange(16)),)
    pictures = []
    for untrained in (False, True):
        write_run_report(made(planes=planes, untrained=untrained), tmp_path / str(untrained))
        write_runs_report([made(untrained=untrained)] * 4, tmp_path / str(untrained))
        folder = tmp_path / str(untrained) / "figures"
        pictures.append({path.name: cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in folder.iterdir()})
    assert len(pictures[0]) == 9
    for name, image in pictures[0].items():
        assert image is not None
        assert (image < 200).mean() > 0.003, name
        other = pictures[1][name]
        assert other is None or other.shape != image.shape or not np.array_equal(other, image), name
