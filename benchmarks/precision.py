"""What do bfloat16 and OpenVINO change in the end: in the AUC, and in verdicts at a calibrated threshold?

    python benchmarks/precision.py jhmdb10 PATH [--backbone r2plus1d-18] [--clips-per-class N] [--weights FILE]
    python benchmarks/precision.py mcvad PATH [--error 0.003 --error 0.0075]

jhmdb10: each clip of real video is embedded once in every way that this machine has. Seven classes are usual, three
are not; 20 draws by source: half of the usual sources to learn, a quarter to calibrate, a quarter to test. Without
--weights the network is UNTRAINED: the AUC says nothing about the network, only what rounding does to it.

mcvad: embeddings of a trained network (I3D) that others computed. They are moved as far as the measured relative errors
by seeded noise of that length, and rounded to bfloat16. Learned on the training scenes that are not anomalous, the last
quarter of them kept back to calibrate; every test window that holds an anomalous frame is anomalous.

Both: `knn` learns in float32 or in the other way (learned alike), and scores in the other way. The threshold is the 95%
quantile of the calibration scores, of the same detector. A flip is a test item with another verdict than in float32.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from oddwatch.backbones import build_backbone
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.tuning import pairs
from oddwatch.scorers import build_scorer
from oddwatch.video import sample_clip

USUAL = {"climb_stairs", "golf", "jump", "kick_ball", "pullup", "run", "swing_baseball"}
Rows = NDArray[np.float32]


class Comparison:
    """AUC and flips of other embeddings of the same items against float32."""

    def __init__(self) -> None:
        self._aucs: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._flips: dict[str, list[int]] = defaultdict(list)
        self._items = 0

    def add(
        self,
        ways: dict[str, Rows],
        learn: NDArray[np.bool_],
        calibrate: NDArray[np.bool_],
        test: NDArray[np.bool_],
        odd: NDArray[np.bool_],
    ) -> None:
        """One split. ways: embeddings of all items, the first in float32; the masks are of items too."""
        first = next(iter(ways.values()))
        exact, verdicts = _scored(first, first, learn, calibrate, test)
        self._items += int(test.sum())
        for name, rows in list(ways.items())[1:]:
            for learned, how in ((rows, "learned alike"), (first, "learned in float32")):
                scores, others = _scored(learned, rows, learn, calibrate, test)
                self._aucs[f"{name}, {how}"].append((_auc(odd[test], exact), _auc(odd[test], scores)))
                self._flips[f"{name}, {how}"].append(int((verdicts != others).sum()))

    def show(self) -> None:
        """A table: means over the splits."""
        print("| embeddings | AUC float32 | AUC | change | largest change | flips |")
        print("|---|---|---|---|---|---|")
        for name, pairs_ in self._aucs.items():
            exact, other = np.array(pairs_).T
            largest = np.abs(other - exact).max()
            print(
                f"| {name} | {exact.mean():.4f} | {other.mean():.4f} | {(other - exact).mean():+.4f} | {largest:.4f} "
                f"| {sum(self._flips[name])} of {self._items} |"
            )


def _scored(
    learned: Rows, rows: Rows, learn: NDArray[np.bool_], calibrate: NDArray[np.bool_], test: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scorer = build_scorer("knn", neighbours=3).fit(learned[learn])
    threshold = np.quantile(scorer.score(learned[calibrate]), 0.95)
    scores = np.asarray(scorer.score(rows[test]), dtype=np.float64)
    return scores, scores >= threshold


def _auc(odd: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    return float(roc_auc_score(odd, scores))


def jhmdb10(path: Path, backbone: str, weights: str, per_class: int | None, draws: int = 20) -> None:
    """Real video."""
    with (path / "index.csv").open() as file:
        listed = list(csv.DictReader(file))
    counts: dict[str, int] = defaultdict(int)
    clips = []
    for row in listed:
        counts[row["label"]] += 1
        if per_class is None or counts[row["label"]] <= per_class:
            clips.append(row)
    made = build_backbone(backbone, weights=weights)
    assert isinstance(made, PretrainedBackbone)
    ways = [made.computed(runtime=pair.runtime, precision=pair.precision) for pair in pairs()]
    vectors: dict[str, list[Rows]] = {str(way.compute): [] for way in ways}
    for row in clips:
        images = sample_clip(path / row["path"], frames=made.input.frames).images
        clip = np.stack([made.prepare(image) for image in images])
        for way in ways:
            vectors[str(way.compute)].append(way.embed(clip[None])[0][0])
    rows = {name: np.stack(found) for name, found in vectors.items()}
    exact = next(iter(rows.values()))
    trained = "UNTRAINED network" if weights == "random" else weights
    print(f"jhmdb10, {backbone}, {trained}: {len(clips)} clips, {draws} draws by source")
    for name, found in rows.items():
        apart = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
        print(f"relative error of {name}: median {np.median(apart):.2g}, largest {apart.max():.2g}")
    odd = np.array([row["label"] not in USUAL for row in clips])
    sources = np.array([row["source"] for row in clips])
    usual = np.unique(sources[~odd])
    result = Comparison()
    for draw in range(draws):
        shuffled = np.random.default_rng(draw).permutation(usual)
        half, rest = len(usual) // 2, len(usual) * 3 // 4
        learn, calibrate = (np.isin(sources, part) & ~odd for part in (shuffled[:half], shuffled[half:rest]))
        result.add(rows, learn, calibrate, (np.isin(sources, shuffled[rest:]) & ~odd) | odd, odd)
    result.show()


def mcvad(path: Path, errors: list[float]) -> None:
    """Embeddings of a trained network."""
    for view in (1, 2):
        with np.load(path / f"train_view{view}.npz") as train, np.load(path / f"test_view{view}.npz") as test:
            fit = ~train["scene_is_anomalous"][train["scene"]]
            usual, asked = train["embeddings"][fit], test["embeddings"]
            odd = np.concatenate([np.zeros(len(usual), bool), test["frame_labels"].any(axis=1)])
        exact = np.concatenate([usual, asked])
        ways = {"float32": exact, "rounded to bfloat16": _rounded(exact)}
        result = Comparison()
        place = np.arange(len(exact))
        cut = len(usual) * 3 // 4
        for seed in range(20):
            for error in errors:
                noise = np.random.default_rng(seed).normal(size=exact.shape).astype(np.float32)
                length = np.linalg.norm(exact, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
                ways[f"noise of {error:.2%}"] = exact + np.float32(error) * length * noise
            result.add(ways, place < cut, (place >= cut) & (place < len(usual)), place >= len(usual), odd)
        print(f"\nmcvad view {view}: {len(usual)} windows learned from, {len(asked)} scored, 20 seeds of the noise")
        result.show()


def _rounded(rows: Rows) -> Rows:
    import torch

    rounded: Rows = torch.from_numpy(rows).bfloat16().float().numpy()
    return rounded


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("jhmdb10", "mcvad"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--backbone", default="r2plus1d-18")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--clips-per-class", type=int)
    parser.add_argument("--error", type=float, action="append")
    given = parser.parse_args()
    if given.data == "jhmdb10":
        jhmdb10(given.path, given.backbone, given.weights, given.clips_per_class)
    else:
        mcvad(given.path, given.error or [0.003, 0.0075])


if __name__ == "__main__":
    main()
