"""Linear layers behind pooling, whose folders sentence-transformers' `modules.json` names."""

from __future__ import annotations

from collections.abc import Mapping

from .config import Keys, Settings
from .safetensors import Safetensors
from .streams import Stream, constant


def dense_keys(s: Settings) -> Keys:
    """Sizes of the linear layers that follow pooling."""
    sizes = {name: {"in": matrix.k, "out": matrix.rows} for name, matrix in dense_modules(s)}
    return {f"{name}_feat_{end}": size for name, ends in sizes.items() for end, size in ends.items()}


def dense_layers(s: Settings) -> dict[str, Stream]:
    """The matrices that follow pooling, from sentence-transformers' modules."""
    return {f"{name}.weight": matrix for name, matrix in dense_modules(s)}


def dense_modules(s: Settings) -> list[tuple[str, Stream]]:
    """The matrices of sentence-transformers' Dense modules, in order, as (name, matrix): dense_2, dense_3.

    They are linear layers without bias and activation; others raise BadFileError.
    """
    modules = [module for module in s.folder.json_list("modules.json") if isinstance(module, Mapping)]
    paths = [str(module.get("path")) for module in modules if str(module.get("type", "")).endswith("Dense")]
    found = []
    for number, path in enumerate(paths, 2):
        config = s.folder.json(f"{path}/config.json")
        if config.get("bias") or not str(config.get("activation_function", "Identity")).endswith("Identity"):
            raise s.fail(f"module {path!r:.40} has a bias or an activation, which is not supported", "")
        if not s.folder.has(f"{path}/model.safetensors"):
            raise s.fail(f"module {path!r:.40} has no model.safetensors", "download the folder again")
        file = Safetensors(s.folder.path / path / "model.safetensors")
        try:
            matrix = file.tensors.get("linear.weight")
            if matrix is None or len(matrix.shape) != 2:
                raise s.fail(f"module {path!r:.40} has no matrix linear.weight", "download the folder again")
            found.append((f"dense_{number}", constant(matrix.read(0, matrix.rows))))
        finally:
            file.close()
    return found
