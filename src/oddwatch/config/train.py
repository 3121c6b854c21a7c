"""The file of a training run: YAML <-> checked models. It builds nothing: `oddwatch.finetune` knows what keys mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from oddwatch.errors import MissingExtraError, UsageError

try:
    import yaml
    from pydantic import BaseModel, ConfigDict, Field, ValidationError
except ImportError as error:
    raise MissingExtraError("a training configuration", error.name or "pydantic", "train") from error

Number = Annotated[float, Field(strict=False)]  # YAML reads 1e-3 as text


class Section(BaseModel):
    """Keys that are not known are refused, and so are values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class BackboneSection(Section):
    """name: as `oddwatch backbones` lists it. weights: `published`, a file, `random` (untrained), null where it has
    none. options: more of what builds it, such as frames, size_px and model.
    """

    name: str
    weights: str | None = "published"
    options: dict[str, Any] = {}


class AutoencoderSection(Section):
    """See `oddwatch.finetune.Autoencoder`."""

    hidden: list[int] = [512, 256, 128]
    dropout: Number = 0.3
    variational: bool = False


class DataSection(Section):
    """See `oddwatch.finetune.Data`."""

    batch_size: int = 8
    clips_per_class: int = 0
    validation_clips_per_class: int = 0
    scale_px: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    workers: int = 2


class OptimiserSection(Section):
    """See `oddwatch.finetune.Optimiser`."""

    learning_rate: Number = 1e-3
    schedule: Literal["step", "plateau", "cosine", "restarts", "none"] = "step"
    step_size: int = 10
    gamma: Number = 0.1
    patience: int = 5
    clip_norm: Number | None = None
    accumulate: int = 1


class FineTuneSection(Section):
    """See `oddwatch.finetune.FineTune`."""

    tensors: int | Literal["all", "never"] = "never"
    from_epoch: int = 0
    target: Literal["anchor", "detached", "published"] = "anchor"


class TrainerSection(Section):
    """See `oddwatch.finetune.Trainer`."""

    patience: int | None = None
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1


class TrackerSection(Section):
    """See `oddwatch.finetune.Tracker`."""

    name: Literal["tensorboard", "wandb", "mlflow", "none"] = "tensorboard"
    project: str = "oddwatch"
    online: bool = False
    uri: str | None = None


class TrainConfig(Section):
    """A whole file. Paths are relative to the folder that `oddwatch train` is started in."""

    manifest: str = "manifest.csv"
    out: str
    cache: str = "embeddings"
    backbone: BackboneSection
    epochs: int = 30
    seed: int = 42
    autoencoder: AutoencoderSection = AutoencoderSection()
    data: DataSection = DataSection()
    optimiser: OptimiserSection = OptimiserSection()
    fine_tune: FineTuneSection = FineTuneSection()
    trainer: TrainerSection = TrainerSection()
    tracker: TrackerSection = TrackerSection()

    def to_yaml(self) -> str:
        """The file that `read_config` reads as this."""
        text: str = yaml.safe_dump(self.model_dump(), sort_keys=False)
        return text


def read_config(path: Path, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """A file, with other values for some keys (`data.batch_size`). Raises UsageError that names the key and what is
    allowed.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no keys: begin with one of configs/")
    return checked(found, changes or {}, of=str(path))


def checked(found: dict[str, Any], changes: Mapping[str, Any], *, of: str) -> TrainConfig:
    """Keys and values, with other values for some keys. of: what they are, for messages. Raises UsageError."""
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = found
        for section in sections:
            inner = place.get(section)
            if not isinstance(inner, dict):
                inner = place[section] = {}
            place = inner
        place[last] = value
    try:
        return TrainConfig.model_validate(found)
    except ValidationError as error:
        raise UsageError(f"{of}: {_one_line(error)}") from error


def parse_value(text: str) -> Any:
    """A value as it would stand in the file. Raises UsageError."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{text!r} is no value of YAML: {' '.join(str(error).split())}") from error


def _one_line(error: ValidationError) -> str:
    """The first thing that is wrong: which key, what arrived, what is allowed."""
    first, *others = error.errors(include_url=False)
    for one in (first, *others):  # of a key that takes one of several types, the one that says most
        if one["type"] == "literal_error" and one["loc"][: len(first["loc"]) - 1] == first["loc"][:-1]:
            first = one
            break
    place = [part for part in first["loc"] if isinstance(part, str) and not part.startswith(("literal[", "list["))]
    place = [part for part in place if part not in ("int", "float", "str", "constrained-int")] or place
    key = ".".join(place)
    model = _section(place[:-1])
    if first["type"] == "extra_forbidden":
        whose = ".".join(place[:-1])
        return f"unknown key {key!r}: {whose or 'the file'} has {', '.join(model.model_fields)}"
    if first["type"] == "missing":
        return f"{key} is missing: give a value for it"
    allowed = _allowed(model.model_fields[place[-1]].annotation) if place[-1] in model.model_fields else ""
    return f"{key} is {first['input']!r}, it must be {allowed or first['msg']}"


def _section(place: Sequence[str]) -> type[BaseModel]:
    model: type[BaseModel] = TrainConfig
    for part in place:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return model


_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list[int]: "a list of whole numbers",
    type(None): "null",
}


def _allowed(annotation: Any) -> str:
    return " or ".join(dict.fromkeys(_words(annotation)))


def _words(annotation: Any) -> Iterator[str]:
    inner = getattr(annotation, "__args__", ())
    if annotation in _WORDS:
        yield _WORDS[annotation]
    elif all(isinstance(value, str) for value in inner) and inner:
        yield ", ".join(inner)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield f"a section with {', '.join(annotation.model_fields)}"
    elif getattr(annotation, "__origin__", None) is dict:
        yield "a section of keys and values"
    elif hasattr(annotation, "__metadata__"):
        two = " (two)" if annotation.__origin__ == list[int] else ""
        yield from (word + two for word in _words(annotation.__origin__))
    else:
        for one in inner:
            yield from _words(one)
