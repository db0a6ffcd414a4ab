from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from edgekd.artifact import ArtifactSet
from edgekd.errors import ExportError, UsageError
from edgekd.export import onnx_file
from edgekd.export.stage import ExportStage
from edgekd.recipe import ModelSpec
from edgekd.runtime.session import open_session
from edgekd.stage import Context, Progress
from edgekd.target import Target
from edgekd.train import checkpoint
from tests.export import quantized
from tests.models import INPUT_SHAPE, settled

TARGET: dict[str, Any] = {
    "name": "here",
    "title": "this machine",
    "machine": "x86_64",
    "runtimes": ["onnxruntime", "openvino"],
    "precisions": ["fp32", "int8"],
    "quantization": {"openvino": {"scheme": "u8w7", "source": "tests, for a test", "evidence": "reported"}},
    "channel_step": {},
}


def _context(folder: Path, **changes: Any) -> Context:
    return Context(
        run_folder=folder,
        folder=folder / "stages" / "export",
        cache=folder / "cache",
        recipe=SimpleNamespace(),  # type: ignore[arg-type]
        target=Target.model_validate({**TARGET, **changes}),
        origin_is_device=True,
        progress=Progress(),
    )


def _float(context: Context, network: str = "teacher", name: str = "residual"):
    spec = ModelSpec(factory="tests.models:settled", options={"name": name})
    folder = context.run_folder / network
    checkpoint.save(settled(name), folder, spec, INPUT_SHAPE, 4, torch.randn(12, *INPUT_SHAPE))
    return context.store(folder, network=network, format="torch", made_by="teacher")


def _quantized(context: Context):
    folder = context.run_folder / "quantized"
    model, path = quantized.written(folder / "file")
    quantized.record_probe(model, folder / "torch")
    facts = {"network": "pruned", "scheme": "u8w7", "made_by": "quantize"}
    return (
        context.store(folder / "torch", format="torch", **facts),
        context.store(path, format="onnx", parents=("pruned/u8w7/torch",), **facts),
    )


def _stage(**config: Any) -> ExportStage:
    return ExportStage(ExportStage.Config.model_validate(config))


def test_every_network_gets_the_engines_its_target_wants(tmp_path: Path) -> None:
    context, stage = _context(tmp_path), _stage()
    given = ArtifactSet().add(_float(context), *_quantized(context))
    stage.requires(given, context)
    found = stage.run(given, context)
    stage.ensures(found, context)
    new = {artifact.key for artifact in found.artifacts}
    assert new == {
        "teacher/fp32/torch",
        "teacher/fp32/onnx",
        "teacher/fp32/openvino",
        "pruned/u8w7/torch",
        "pruned/u8w7/onnx",
        "pruned/u8w7/openvino",
    }
    engine = found.newest(network="teacher", written_as="openvino")
    assert engine.parents == ("teacher/fp32/onnx",)
    assert engine.inputs[0].shape == (None, *INPUT_SHAPE)
    assert {figure.name: figure.origin for figure in engine.figures} == {
        "size_mb": "counted",
        "logit_error_max": "device",
        "logit_error_mean": "device",
        "agreement_percent": "device",
    }
    assert "2 in int8" in found.newest(scheme="u8w7", written_as="openvino").notes["executed by openvino"]
    assert found.newest(scheme="u8w7", written_as="onnx").figures == ()  # onnxruntime wants no integers here
    (logits,) = open_session("openvino", str(context.path(engine))).run([np.ones((1, *INPUT_SHAPE), np.float32)])
    expected = settled("residual")(torch.ones(1, *INPUT_SHAPE)).detach().numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_running_again_gives_the_same_artifacts(tmp_path: Path) -> None:
    context, stage = _context(tmp_path), _stage()
    first = stage.run(ArtifactSet().add(_float(context), *_quantized(context)), context)
    again = stage.run(first, context)
    assert {(a.key, a.digest, a.figures) for a in again.artifacts} == {
        (a.key, a.digest, a.figures) for a in first.artifacts
    }


def test_an_integer_engine_that_computes_something_else_stops_the_run(tmp_path: Path) -> None:
    context = _context(tmp_path)
    torch_artifact, file = _quantized(context)
    probe = {"input": torch.randn(16, *INPUT_SHAPE), "output": torch.randn(16, 4)}
    save_file(probe, context.path(torch_artifact) / "probe.safetensors")
    with pytest.raises(ExportError, match=r"openvino engine of pruned/u8w7 .* mean error"):
        _stage().run(ArtifactSet().add(torch_artifact, file), context)


def test_a_wrong_float_file_names_its_first_wrong_tensor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    context = _context(tmp_path)
    write = onnx_file.write

    def wrong(module: torch.nn.Module, path: Path, input_shape: tuple[int, ...]) -> None:
        write(module, path, input_shape)
        model = onnx.load(path)
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == "shortcut.weight")
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + np.float32(1), weight.name))
        onnx.save(model, path)

    monkeypatch.setattr(onnx_file, "write", wrong)
    with pytest.raises(ExportError, match=r"the ONNX file leaves the torch network: .*'shortcut_norm/batch_norm_3'"):
        _stage().run(ArtifactSet().add(_float(context)), context)


def test_unknown_runtime_is_refused_before_any_work(tmp_path: Path) -> None:
    context = _context(tmp_path, runtimes=["warp"], quantization={})
    with pytest.raises(UsageError, match="'warp'; known: onnxruntime, openvino"):
        _stage().requires(ArtifactSet(), context)
