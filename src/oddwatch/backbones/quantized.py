"""A network in INT8 as one file: a model of OpenVINO, and the record of what it was made from and how far it is off.

A zip of model.xml, model.bin and record.json; nothing in it is code.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from oddwatch.backbones.compute import Embedder
from oddwatch.backbones.openvino_runtime import embedder_of, how, import_openvino, openvino_knows_bfloat16
from oddwatch.errors import OddwatchError, UsageError, WeightsError
from oddwatch.files import write_bytes

_FORMAT = 1
_RECORD, _XML, _BIN = "record.json", "model.xml", "model.bin"


def write_quantized(path: Path, model: Any, record: dict[str, Any]) -> None:
    """model: of OpenVINO. record: JSON types, with `from` (what `PretrainedBackbone.quantized_from` says) and `rest`,
    the precision of what is not in INT8. Raises OddwatchError when it cannot be written; nothing stays behind.
    """
    data = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(data, "w") as archive:
        import_openvino().save_model(model, Path(folder) / _XML, compress_to_fp16=False)
        parts = {name: (Path(folder) / name).read_bytes() for name in (_XML, _BIN)}
        parts[_RECORD] = json.dumps({"format": _FORMAT, **record}, indent=1).encode()
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # without the time of day
    try:
        write_bytes(path, data.getvalue())
    except OSError as error:
        raise OddwatchError(
            f"{path} cannot be written: {error.strerror or error} (free some space or choose another --out)"
        ) from error


def read_quantized(path: Path) -> tuple[dict[str, Any], bytes, bytes]:
    """The record, and the two parts of the model. Raises WeightsError: no such file, damaged, too new."""
    try:
        with zipfile.ZipFile(path) as archive:  # which checks the checksum of each part
            record = json.loads(archive.read(_RECORD))
            found = record, archive.read(_XML), archive.read(_BIN)
        if not (isinstance(record["format"], int) and isinstance(record["from"], dict) and record["rest"]):
            raise ValueError
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path} is damaged or no file made by oddwatch backbones quantize: make it again"
        ) from error
    if record["format"] > _FORMAT:
        raise WeightsError(f"{path} was made by oddwatch {record.get('oddwatch', 'of later')}: upgrade oddwatch")
    return found


def quantized_embedder(path: Path, made_from: dict[str, Any], *, threads: int | None) -> Embedder:
    """made_from: what the file has to be made from. Raises WeightsError for another backbone, weights or clip;
    UsageError where the processor does not have the precision of what is not in INT8.
    """
    record, xml, weights = read_quantized(path)
    for key, wanted in made_from.items():
        found = record["from"].get(key)
        if found != wanted:
            raise WeightsError(
                f"{path} was made for {key} {found}, this is {wanted}: make one for this with oddwatch backbones "
                f"quantize {made_from['backbone']}"
            )
    if record["rest"] == "bfloat16" and not openvino_knows_bfloat16():
        raise UsageError(f"{path} was measured with bfloat16, which this processor does not have: make it again here")
    core = import_openvino().Core()
    try:
        model = core.read_model(xml, weights)
    except RuntimeError as error:
        raise WeightsError(f"{path} holds a model that this OpenVINO cannot read: make it again") from error
    return embedder_of(core.compile_model(model, "CPU", how(record["rest"], threads)))
