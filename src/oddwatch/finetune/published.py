"""The article's own experiment (Randellini 2023): its two TimeSformer configurations, its figures, its checkpoints.

A published checkpoint holds a backbone and an autoencoder in one state dict, under names of its own. Names are matched
tolerantly, whatever prefix they have; shapes strictly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oddwatch.backbones import build_backbone
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.backbones.weights import RANDOM, load_state, renamed
from oddwatch.errors import WeightsError
from oddwatch.files import write_bytes
from oddwatch.finetune.best import WEIGHTS, Best
from oddwatch.scorers.autoencoder import AutoencoderScorer, autoencoder_network

if TYPE_CHECKING:
    import torch

State = dict[str, "torch.Tensor"]
_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class PublishedRow:
    """A row of the article's table. accuracy: by split. auroc: of anomalies against test clips, from its published
    errors of single clips, where there are any.
    """

    name: str
    threshold: float
    accuracy: dict[str, float]
    auroc: float | None = None


PUBLISHED_ROWS = {
    "v1": PublishedRow(
        "TimeSformer V1", 601.0435, {"anomaly": 0.90, "train": 1.00, "validation": 1.00, "test": 0.87}, 0.896
    ),
    "v2": PublishedRow("TimeSformer V2", 315.4851, {"anomaly": 0.90, "train": 0.96, "validation": 0.81, "test": 0.87}),
}
_V1: dict[str, Any] = {
    "out": "runs/timesformer-v1",
    "backbone": {"name": "timesformer", "weights": "published"},
    "epochs": 30,
    "seed": 42,
    "autoencoder": {"hidden": [512, 256, 128], "dropout": 0.3},
    "data": {"batch_size": 8, "clips_per_class": 200, "scale_px": [256, 320]},
    "optimiser": {"learning_rate": 1e-3, "schedule": "step", "step_size": 10, "gamma": 0.1},
    "fine_tune": {"tensors": "never"},
}
CONFIGURATIONS = {
    "v1": _V1,
    "v2": {
        **_V1,
        "out": "runs/timesformer-v2",
        "optimiser": {**_V1["optimiser"], "learning_rate": 5e-4},
        "fine_tune": {"tensors": 22, "from_epoch": 20, "target": "anchor"},
    },
}
"""As `configs/timesformer-v1.yaml` and `-v2.yaml`, for those who have installed the package alone."""


def load_checkpoint(
    path: Path, asked: dict[str, Any], out: Path, *, classifier: str = "classifier."
) -> tuple[Best, list[str]]:
    """A published checkpoint, ready to be used, and the keys of it that fit nothing. asked: a recipe, as JSON types,
    that names the backbone and its options. out: folder for `backbone.safetensors`. The sizes of the autoencoder are
    those of the checkpoint. Raises WeightsError: not readable as weights alone, a tensor missing or of another shape.
    """
    given = _load(path)
    options = {**asked["options"], "weights": RANDOM, "window_seconds": None}
    shape_of = build_backbone(asked["backbone"], **options)
    assert isinstance(shape_of, PretrainedBackbone)
    network = shape_of.network
    found, rest = _backbone_state(path, given, network, asked["backbone"], classifier)
    columns = shape_of.record.vector_size
    arrays, hidden, fitted = _autoencoder_state(path, rest, columns)
    fitting = {id(value) for value in found.values()} | {id(rest[key]) for key in fitted}
    unused = [key for key, value in given.items() if id(value) not in fitting]
    from safetensors.torch import save

    # The classifier is cut off: what stands in its place in the file is never used.
    whole = {name: found.get(name, value * 0).contiguous() for name, value in network.state_dict().items()}
    try:
        write_bytes(out / WEIGHTS, save(whole))
    except OSError as error:
        raise WeightsError(f"{out / WEIGHTS} cannot be written: {error.strerror or error} (free some space)") from error
    options["weights"] = str((out / WEIGHTS).resolve())
    backbone = build_backbone(asked["backbone"], **options)
    autoencoder = {**asked["autoencoder"], "hidden": hidden}
    scorer = AutoencoderScorer(**autoencoder).restore(arrays, {"columns": columns})
    record = {
        "asked": {**asked, "options": options, "autoencoder": autoencoder},
        "backbone": asked["backbone"],
        "untrained": False,
        "best_epoch": None,
    }
    return Best(record, backbone, options, scorer), unused


def _load(path: Path) -> State:
    """Without running code in it. A number of numpy beside the weights, such as the best loss, does no harm."""
    import torch

    if not path.is_file():
        raise WeightsError(f"{path}: no such checkpoint")
    scalar: Any = np.float64(0).__reduce__()[0]
    harmless = [
        (scalar, "numpy.core.multiarray.scalar"),
        scalar,
        np.dtype,
        np.dtypes.Float64DType,
        np.dtypes.Float32DType,
    ]
    with torch.serialization.safe_globals(harmless):
        return load_state(path)


def _backbone_state(path: Path, given: State, network: Any, backbone: str, classifier: str) -> tuple[State, State]:
    """The tensors of the network without its classifier, by the network's own names, and what may be the rest."""
    expected = {name: v for name, v in network.state_dict().items() if not name.startswith(classifier)}
    heads = {"", *(name.partition(".")[0] + "." for name in expected)}
    shared = [head for head in heads if all(name.startswith(head) for name in expected)]
    tails = {head: {name[len(head) :] for name in expected} for head in shared}
    prefixes = {"", *(key[: i + 1] for key in given for i, letter in enumerate(key) if letter == ".")}

    def fits(pair: tuple[str, str]) -> tuple[int, int]:
        """How many names they explain; of those that say the same the longer, under which is no autoencoder."""
        prefix, head = pair
        return sum(k.startswith(prefix) and k[len(prefix) :] in tails[head] for k in given), len(prefix)

    prefix, head = max(((prefix, head) for prefix in prefixes for head in shared), key=fits)
    own = {head + key[len(prefix) :]: key for key in given if key.startswith(prefix)}
    state = {name: given[key] for name, key in own.items()}
    if not expected.keys() <= state.keys() and hasattr(network, "base_model_prefix"):
        state = renamed(network, state)
    missing = [name for name in expected if name not in state]
    shapes = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    for names, what in ((missing, "missing"), (shapes, "of another shape")):
        if names:
            begins = f"names that begin with {prefix!r} were taken for it"
            raise WeightsError(
                f"{path} holds no {backbone}: of {len(expected)} tensors {len(names)} are {what} ({names[0]}; {begins})"
            )
    taken = {id(state[name]) for name in expected}
    cut = classifier.rstrip(".")
    rest = {
        key: value
        for key, value in given.items()
        if id(value) not in taken and cut not in key.split(".") and not (prefix and key.startswith(prefix))
    }
    return {name: state[name] for name in expected}, rest


def _autoencoder_state(path: Path, rest: State, columns: int) -> tuple[dict[str, Any], list[int], list[str]]:
    """By the names of our own network, whatever the modules are called: a layer is known by its shape. Then the hidden
    sizes, and the keys that it was made of.
    """
    modules: dict[str, State] = {}
    for key, value in rest.items():
        module, _, leaf = key.rpartition(".")
        modules.setdefault(module, {})[leaf] = value
    linear = {m: leaves for m, leaves in modules.items() if "weight" in leaves and leaves["weight"].ndim == 2}
    norms = [m for m, leaves in modules.items() if leaves.get("running_mean", np.zeros(0)).shape == (columns,)]
    size = {m: tuple(leaves["weight"].shape) for m, leaves in linear.items()}  # (out, in)
    down = sorted((m for m in linear if size[m][0] < size[m][1]), key=lambda m: -size[m][1])
    up = sorted((m for m in linear if size[m][0] > size[m][1]), key=lambda m: size[m][1])
    hidden = [size[m][0] for m in down]
    sizes = [columns, *hidden, *hidden[-2::-1], columns]
    fits = bool(down) and [size[m] for m in (*down, *up)] == list(zip(sizes[1:], sizes[:-1], strict=True))
    if not fits or len(norms) != 1 or not all(leaf in modules[norms[0]] for leaf in _NORM):
        shapes = ", ".join(f"{key} {tuple(value.shape)}" for key, value in rest.items()) or "nothing"
        raise WeightsError(
            f"{path} holds no autoencoder of {columns} values: beside the backbone it has {shapes} (expected: a "
            "BatchNorm of the input and linear layers that narrow to a latent and widen again)"
        )
    network: Any = autoencoder_network(columns, hidden, 0.0)
    places = [str(i) for i, layer in enumerate(network) if hasattr(layer, "in_features")]
    arrays: dict[str, Any] = {"0.num_batches_tracked": np.array(0)}
    names = {f"{norms[0]}.{leaf}": f"0.{leaf}" for leaf in (*_NORM, "num_batches_tracked")}
    for place, module in zip(places, (*down, *up), strict=True):
        if modules[module].get("bias", np.zeros(0)).shape != (size[module][0],):
            raise WeightsError(f"{path}: {module}.bias is missing or of another shape")
        names |= {f"{module}.{leaf}": f"{place}.{leaf}" for leaf in ("weight", "bias")}
    arrays |= {ours: rest[key].numpy() for key, ours in names.items() if key in rest}
    return arrays, hidden, [key for key in rest if key in names]
