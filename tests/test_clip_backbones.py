"""Clip backbones: every family against its library's own forward, preprocessing against torch's, weights, streams."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_backbones import CLIP_BACKBONES, SMALL, parameters, small
from small_videos import write
from torch.utils.flop_counter import FlopCounterMode

from oddwatch.backbones import backbone_class, build_backbone
from oddwatch.backbones.clips import ClipBackbone, ClipInput
from oddwatch.backbones.cost import cost
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.slowfast_network import pack_pathways
from oddwatch.backbones.transformers_video import TransformersBackbone
from oddwatch.detector import Detector
from oddwatch.embed import embed_video
from oddwatch.errors import UsageError, WeightsError
from oddwatch.report.annotate import annotate
from oddwatch.torch_compat import import_torchvision
from oddwatch.types import Frame
from oddwatch.video import open_video


def lively(network: torch.nn.Module) -> None:
    """Statistics and affine parts as in a trained network: with the initial ones much of it does nothing."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)


@pytest.fixture(scope="module", params=parameters(CLIP_BACKBONES))
def backbone(request: pytest.FixtureRequest) -> PretrainedBackbone:
    made = small(request.param)
    lively(made.network)
    return made


@pytest.fixture(scope="module")
def clips(backbone: PretrainedBackbone) -> np.ndarray[Any, np.dtype[np.float32]]:
    i = backbone.input
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, i.frames, i.size_px, i.size_px, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def embedded(backbone: PretrainedBackbone, clips: Any) -> tuple[Any, Any]:
    """Its vectors and grids of the clips."""
    vector, grid = backbone.embed(clips)
    assert grid is not None
    return vector, grid


# every family


def test_it_gives_what_its_record_says(backbone: PretrainedBackbone, embedded: tuple[Any, Any]) -> None:
    vector, grid = embedded
    assert vector.shape == (2, backbone.record.vector_size)
    assert (grid.ndim, grid.shape[0], grid.shape[3]) == (4, 2, backbone.record.grid_size)
    assert vector.dtype == grid.dtype == np.float32
    assert np.isfinite(vector).all()
    assert np.isfinite(grid).all()
    assert vector.std(axis=1).min() > 1e-3
    assert (vector[0] != vector[1]).any()


def test_the_classifier_of_its_vector_is_the_librarys_own_forward(
    backbone: PretrainedBackbone, clips: Any, embedded: tuple[Any, Any]
) -> None:
    """Or, where the library has no classifier, its vector is what the library pools itself."""
    vector, _ = embedded
    network: Any = backbone.network
    transformers = isinstance(backbone, TransformersBackbone)
    order = (0, 1, 4, 2, 3) if transformers else (0, 4, 1, 2, 3)
    x = torch.from_numpy(clips).permute(order)
    with torch.inference_mode():
        v = torch.from_numpy(vector)
        if not backbone.classifier:
            expected, found = torch.stack([network(clip).pooler_output.mean(0) for clip in x]), v
        else:
            given = pack_pathways(x) if backbone.record.name == "slowfast-r50" else x
            expected = network(given).logits if transformers else network(given)
            if backbone.record.name.startswith("slow"):
                found = network.get_submodule(f"{backbone.classifier}proj")(v)
            elif backbone.record.name == "s3d":
                found = network.classifier(v[:, :, None, None, None]).flatten(1)
            else:
                found = getattr(network, backbone.classifier.rstrip("."))(v)
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_a_place_of_the_grid_is_a_place_of_the_picture(
    backbone: PretrainedBackbone, clips: Any, embedded: tuple[Any, Any]
) -> None:
    """What changes in the lower right corner changes the grid most in its lower right half."""
    changed = clips.copy()
    size = backbone.input.size_px
    changed[:, :, size * 3 // 4 :, size * 3 // 4 :] += 3
    after = backbone.embed(changed)[1]
    assert after is not None
    moved = np.linalg.norm(after - embedded[1], axis=3).mean(axis=0)
    if min(moved.shape) < 2:
        return  # one place: there is nowhere else
    y, x = np.unravel_index(int(moved.argmax()), moved.shape)
    assert (y + 0.5) / moved.shape[0] > 0.5
    assert (x + 0.5) / moved.shape[1] > 0.5


def test_frozen_means_evaluation_mode_and_no_gradients(
    backbone: PretrainedBackbone, clips: Any, embedded: tuple[Any, Any]
) -> None:
    state = {name: value.clone() for name, value in backbone.network.state_dict().items()}
    np.testing.assert_array_equal(embedded[0], backbone.embed(clips)[0])
    assert not any(module.training for module in backbone.network.modules())
    assert not any(p.requires_grad for p in backbone.network.parameters())
    assert all(torch.equal(value, state[name]) for name, value in backbone.network.state_dict().items())


def test_options_build_an_equal_one(backbone: PretrainedBackbone) -> None:
    again = build_backbone(backbone.record.name, **backbone.options())
    assert isinstance(again, PretrainedBackbone)
    assert again.options() == backbone.options()
    assert again.input == backbone.input


def test_records() -> None:
    """Names, files and accuracies are those of the library; what is not published is said."""
    import_torchvision()
    from torchvision.models import video

    seen = 0
    for name in CLIP_BACKBONES:
        cls = backbone_class(name)
        assert issubclass(cls, PretrainedBackbone)
        record = cls.record.weights
        assert cls.record.name == name
        assert record is not None
        assert record.licence
        assert bool(record.url) != bool(record.hub)
        assert record.sha256 or record.sha256_unknown
        function = getattr(cls, "function", None)
        if function is None:
            continue
        theirs = video.__dict__[next(n for n in dir(video) if n.lower() == f"{function}_weights")].KINETICS400_V1
        transform = theirs.transforms()
        assert record.url == theirs.url
        assert record.top1 == theirs.meta["_metrics"]["Kinetics-400"]["acc@1"]
        assert (list(cls.input.mean), list(cls.input.std)) == (transform.mean, transform.std)
        assert [cls.input.size_px] * 2 == list(transform.crop_size)
        assert cls.input.frames >= (theirs.meta.get("min_temporal_size") or 1)
        seen += 1
    assert seen == 8


@pytest.mark.parametrize("name", parameters(CLIP_BACKBONES))
def test_the_published_size_gives_what_its_record_and_the_documents_say(name: str) -> None:
    """Without memory for values: shapes, and the figures of the table, for every network as it is published."""
    kind = backbone_class(name)
    assert issubclass(kind, PretrainedBackbone)
    takes, record = cost(kind), kind.record
    assert takes.vector == (1, record.vector_size)
    assert (takes.grid[0], takes.grid[3]) == (1, record.grid_size)
    assert min(takes.grid[1:3]) > 1
    root = Path(__file__).resolve().parent.parent
    short = re.search(rf"^\| `{name}` \|(.*)", (root / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    figures = [f"{takes.total / 1e6:.1f} M", f"{takes.gflop:.1f}", str(record.vector_size)]
    assert short is None or [cell.strip() for cell in short.group(1).split("|")[:3]] == figures
    page = (root / "docs" / "backbones.md").read_text(encoding="utf-8")
    [row] = re.findall(rf"^\| `{name}` \|.*", page, re.MULTILINE)
    _, clip, parameters, gflop, embedding, top1, licence, _ = map(str.strip, row.split("|")[1:])
    assert f"{kind.input.frames} x {kind.input.size_px} px" == clip.replace("8 and ", "")
    assert [parameters, gflop, embedding] == figures
    assert record.weights is not None
    assert top1 == ("-" if record.weights.top1 is None else f"{record.weights.top1:.1f}")
    assert licence == record.weights.licence.partition(" (")[0]
    if name in {"r2plus1d-18", "slowfast-r50", "timesformer"}:  # the article's counts
        assert len(takes.parameters) == {"r2plus1d-18": 111, "slowfast-r50": 330, "timesformer": 247}[name]


def test_operations_are_counted_as_when_a_network_really_runs() -> None:
    made = small("timesformer")
    with FlopCounterMode(display=False) as counter:
        made.embed(np.zeros((1, 4, 32, 32, 3), np.float32))
    assert cost(type(made), **SMALL["timesformer"]).gflop == counter.get_total_flops() / 1e9 > 0


OLD_ATTENTION = {
    "attention.q_proj.": "attention.attention.query.",
    "attention.k_proj.": "attention.attention.key.",
    "attention.v_proj.": "attention.attention.value.",
    "attention.o_proj.": "attention.output.dense.",
}
OLD_NAMES = {
    "timesformer": {},
    "vjepa2-l": {},
    "videomae-b": {"attention.query.bias": "attention.q_bias", "attention.value.bias": "attention.v_bias"},
    "vivit-b": {
        **OLD_ATTENTION,
        "vivit.layers.": "vivit.encoder.layer.",
        "mlp.fc1.": "intermediate.dense.",
        "mlp.fc2.": "output.dense.",
    },
    "dinov2-s": OLD_ATTENTION,
}
"""Parts of names in today's transformers, and in the published files where those differ."""
PUBLISHED_NAMES = {
    "timesformer": "timesformer.encoder.layer.0.temporal_attention.attention.qkv.weight",
    "vjepa2-l": "vjepa2.encoder.layer.0.attention.query.weight",
    "videomae-b": "videomae.encoder.layer.0.attention.attention.q_bias",
    "vivit-b": "vivit.encoder.layer.0.intermediate.dense.weight",
    "dinov2-s": "encoder.layer.0.attention.attention.query.weight",
}


@pytest.mark.parametrize("name", parameters(list(OLD_NAMES)))
def test_weights_load_under_the_names_that_they_were_published_with(name: str, tmp_path: Path) -> None:
    """The names are those that the library's own scripts wrote when the files were made from the authors'."""
    made = small(name, seed=1)
    published = {}
    for key, value in made.network.state_dict().items():
        for now, then in OLD_NAMES[name].items():
            key = key.replace(now, then)
        published[key] = value
    assert PUBLISHED_NAMES[name] in published
    save_file(published, tmp_path / "model.safetensors")
    loaded = small(name, weights=str(tmp_path / "model.safetensors"))
    state = loaded.network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in made.network.state_dict().items())
    published.pop(PUBLISHED_NAMES[name])
    save_file({**published, "more.weight": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=rf"does not fit {name}: of .* 1 missing .* 1 unknown \(more.weight\)"):
        _ = small(name, weights=str(tmp_path / "other.safetensors")).network


def test_a_clip_that_tokens_do_not_fill_is_refused() -> None:
    for options in ({"frames": 5}, {"size_px": 40}):
        with pytest.raises(UsageError, match=r"a token spans 2 x 16 px: frames and size_px are multiples"):
            build_backbone("videomae-b", **options)


@pytest.mark.parametrize("attention", ["joint", "space"])
def test_other_attention(attention: str) -> None:
    made = small("timesformer", attention=attention)
    x = np.random.default_rng(0).normal(size=(2, 4, 32, 32, 3)).astype(np.float32)
    vector, grid = made.embed(x)
    assert (vector.shape, grid is not None and grid.shape) == ((2, 768), (2, 2, 2, 768))
    network: Any = made.network
    with torch.inference_mode():
        tokens = network.timesformer(torch.from_numpy(x).permute(0, 1, 4, 2, 3)).last_hidden_state
    expected = tokens[:, 0] if attention == "joint" else tokens[:, 0].reshape(2, 4, 768).mean(1)
    np.testing.assert_allclose(vector, expected.numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="attention is one of divided, joint, space, got 'axial'"):
        small("timesformer", attention="axial")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tensors"), [("r2plus1d-18", 111), ("slowfast-r50", 330), ("timesformer", 247)])
def test_full_size(name: str, tensors: int) -> None:
    """The article's counts; and the whole network gives the sizes of its record."""
    made = build_backbone(name, weights="random")
    assert isinstance(made, PretrainedBackbone)
    assert len(made.backbone_parameters()) == tensors
    assert len(list(made.network.parameters())) == tensors + 2
    i = made.input
    vector, grid = made.embed(np.zeros((1, i.frames, i.size_px, i.size_px, 3), np.float32))
    assert vector.shape == (1, made.record.vector_size)
    assert grid is not None
    assert grid.shape[3] == made.record.grid_size


# preprocessing and windows


class Mean(ClipBackbone):
    """The mean picture of a clip at 4 x 4."""

    record = backbone_class("r3d-18").record
    input = ClipInput(3, 4, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))

    def embed(self, clips: Any) -> tuple[Any, None]:
        return clips.mean(axis=1).reshape(len(clips), -1), None


@pytest.mark.parametrize("size", [(240, 320), (1, 1), (37, 5), (3, 3), (448, 448)])
def test_a_picture_is_prepared_as_torch_would(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for to_px in (4, 112, 224):
        made = Mean(size_px=to_px)
        x = torch.from_numpy(image).permute(2, 0, 1)[None].double() / 255
        x = (x - torch.tensor(made.input.mean)[:, None, None]) / torch.tensor(made.input.std)[:, None, None]
        x = torch.nn.functional.interpolate(x, (to_px, to_px), mode="bilinear", align_corners=False, antialias=False)
        np.testing.assert_allclose(made.prepare(image), x[0].permute(1, 2, 0).numpy(), atol=2e-6)


def frames(count: int, *, fps: float = 10.0) -> Iterator[Frame]:
    for index in range(count):
        yield Frame(np.full((8, 8, 3), index, dtype=np.uint8), index / fps, index)


def test_a_stream_gives_one_embedding_per_window() -> None:
    stream = Mean(window_seconds=1.0, stride_seconds=0.5, batch=2).stream()
    parts = [stream.push(list(frames(26))[first : first + 4]) for first in range(0, 26, 4)]
    whole = [p for p in [*parts, stream.close()] if p is not None]
    assert [len(p) for p in whole] == [1, 1, 1, 1]
    assert np.concatenate([p.start_seconds for p in whole]).tolist() == [0.0, 0.5, 1.0, 1.5]
    assert np.concatenate([p.end_seconds for p in whole]).tolist() == [1.0, 1.5, 2.0, 2.5]
    brightness = np.concatenate([p.vector[:, 0] for p in whole]) * 0.2 + 0.5
    np.testing.assert_allclose(brightness * 255, [5, 10, 15, 20], atol=1e-3)


def test_a_short_video_is_one_clip_of_all_of_it() -> None:
    stream = Mean(window_seconds=10.0).stream()
    assert stream.push(list(frames(5))) is None
    closing = stream.close()
    assert closing is not None
    assert (closing.start_seconds.tolist(), closing.end_seconds.tolist()) == ([0.0], [0.4])
    assert Mean().stream().close() is None


def test_batches_do_not_change_embeddings(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 4.0, seed=1)
    vectors = [
        np.concatenate([found.vector for _, found in embed_video(str(path), small("timesformer", batch=batch))])
        for batch in (1, 3)
    ]
    assert vectors[0].shape == (3, 768)
    np.testing.assert_allclose(vectors[0], vectors[1], rtol=1e-5, atol=1e-6)


def test_what_cannot_be_another_size() -> None:
    with pytest.raises(UsageError, match="for 16 frames of 224 px, no other"):
        build_backbone("mvit-v2-s", frames=8)


@pytest.mark.parametrize(
    "options", [{"batch": 0}, {"frames": -1}, {"window_seconds": 0.0}, {"stride_seconds": -1}, {"precision": "int4"}]
)
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"at least 1|positive|one of float32, bfloat16"):
        build_backbone("r3d-18", **options)


@pytest.mark.slow
def test_a_detector_with_a_clip_backbone(tmp_path: Path) -> None:
    """It learns, is saved with its weights' checksum, loads, scores alike, and draws the events that it finds."""
    usual = write(tmp_path / "usual.mp4", 14.0, seed=1)
    odd = write(tmp_path / "odd.mp4", 9.0, seed=3, odd="left")
    options = {"weights": "random", **SMALL["timesformer"], "stride_seconds": 0.5, "window_seconds": 1.0}
    detector = Detector(backbone="timesformer", backbone_options=options, on="vector", budget="60/hour").learn(usual)
    assert detector.name == "timesformer, blend on vector"
    track = detector.score(odd)
    assert track.end_seconds[-1] == pytest.approx(8.9)
    detector.save(tmp_path / "d")
    again = Detector.load(tmp_path / "d")
    np.testing.assert_array_equal(again.score(odd).scores, track.scores)
    ranked = np.sort(track.scores)
    widest = int(np.diff(ranked[4:-4]).argmax()) + 4  # no score lies on the level, whatever a processor rounds
    level = float(ranked[widest : widest + 2].mean())
    drawn = annotate(again, odd, tmp_path / "drawn.mp4", threshold=level)
    found = again.events(track, threshold=level)
    assert [(e.start_seconds, e.end_seconds) for e in drawn] == [(e.start_seconds, e.end_seconds) for e in found]
    with open_video(tmp_path / "drawn.mp4") as video:
        assert sum(1 for _ in video) == 90


QUICK = ("dinov2-s",)
# mvit-v2-s would take a minute and a half, and r2plus1d-18 is of its class.
KEPT_SLOWLY = ("r2plus1d-18", "s3d", "swin3d-t", "slowfast-r50", "videomae-b", "vivit-b", "vjepa2-l")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in KEPT_SLOWLY)])
def test_every_family_is_kept_in_a_detector(name: str, tmp_path: Path) -> None:
    usual, short = write(tmp_path / "usual.mp4", 8.0, seed=1), write(tmp_path / "short.mp4", 1.0, seed=2)
    options = {"weights": "random", **SMALL[name], "stride_seconds": 0.35, "window_seconds": 0.5}
    detector = Detector(backbone=name, backbone_options=options, on="grid", scorer="gaussian", budget="5%").learn(usual)
    detector.save(tmp_path / "d")
    again = Detector.load(tmp_path / "d")
    assert again.backbone.options() == detector.backbone.options()
    scores = again.score(short).scores
    assert len(scores) >= 2
    np.testing.assert_array_equal(scores, detector.score(short).scores)


@pytest.mark.slow
def test_other_weights_than_learned_with_are_refused(tmp_path: Path) -> None:
    usual = write(tmp_path / "usual.mp4", 14.0, seed=1)
    file = tmp_path / "weights.safetensors"
    save_file(small("timesformer").network.state_dict(), file)
    options = {"weights": str(file), **SMALL["timesformer"], "stride_seconds": 0.5}
    detector = Detector(backbone="timesformer", backbone_options=options, on="vector", budget="2%")
    detector.learn(usual).save(tmp_path / "d")
    Detector.load(tmp_path / "d").score(usual)
    save_file(small("timesformer", seed=1).network.state_dict(), file)
    with pytest.raises(WeightsError, match="are not those that this detector learned with"):
        Detector.load(tmp_path / "d").score(usual)
