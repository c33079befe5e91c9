"""Print how near the logits of every architecture are to those of its reference, as a table in Markdown.

    python tools/make_nmse_table.py [case ...]

Runs the tiny models of tests/families in F32, all tokens in one batch, with a cache of F32; the reference's logits are
kept in tests/golden/families. `lines` are those of the architecture's file, comments and conversion included.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import llama_cpp_reference
from families import CASES, IDS, golden, settings
from families.converted import EXACT, write_converted
from naive import nmse

from llmlocal import models
from llmlocal.engine import Engine
from llmlocal.gguf import open_gguf


def reference(case: str) -> str:
    """Whose logits are kept."""
    config = settings(case)
    name = config["architectures"][0]
    if config["model_type"] in ("plamo", "plamo2"):
        return "plamo_reference.py"
    if name in llama_cpp_reference.LAYOUTS:
        return "llama.cpp"
    return "rwkv_reference.py" if "RWKV" in name.upper() else "transformers"


def row(case: str) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_converted(case, Path(folder))
        with open_gguf(path) as gguf:
            architecture = str(gguf.metadata["general.architecture"])
        engine = Engine.open(path, n_ctx=48, n_threads=1, ubatch=64, max_outputs=64, kv_type=EXACT)
        error = nmse(engine.all_logits(IDS), golden(case)[1])
        engine.close()
    source = Path(str(models.find(architecture, "").__file__))
    lines = len(source.read_text().splitlines())
    return f"| {architecture} | {case} | {reference(case)} | {error:.1e} | {lines} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the distance of logits from references.")
    parser.add_argument("case", nargs="*", choices=[[], *CASES])
    print("| architecture | case | reference | NMSE | lines |\n| --- | --- | --- | ---: | ---: |")
    for case in sorted(parser.parse_args().case or CASES):
        print(row(case), flush=True)


if __name__ == "__main__":
    main()
