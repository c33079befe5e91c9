"""What fewer bits cost: figures against llama.cpp's and against NumPy, tables, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from scripted import session, word

from llmlocal.cli.views.comparison import LABEL, divergence_charts, fit, labels, over_limit, table
from llmlocal.engine import Engine
from llmlocal.errors import UsageError
from llmlocal.gguf import GGUFFile, open_gguf, write_gguf
from llmlocal.measure.comparison import ANSWER, CompareOptions, Comparison, ModelResult, greedy, opened
from llmlocal.measure.divergence import Divergence, log_probabilities
from llmlocal.measure.perplexity import perplexity
from llmlocal.measure.sample_text import sample_text
from llmlocal.model_info.describe import Description, describe

Said = Callable[..., tuple[int, str, str]]
GOLDEN = json.loads((Path(__file__).parent / "golden" / "compare.json").read_text())
KINDS = ("Q8_0", "Q5_0", "Q4_0")


@pytest.fixture(scope="module")
def models(stories: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The trained model in F16, and what our quantize makes of it."""
    from llmlocal.cli.main import main

    folder = tmp_path_factory.mktemp("models")
    source = folder / "stories260K-F16.gguf"
    source.write_bytes((stories / "stories260K-f16.gguf").read_bytes())
    for kind in KINDS:
        assert main(["quantize", str(source), kind, "-q"]) == 0
    return {kind: folder / f"stories260K-{kind}.gguf" for kind in ("F16", *KINDS)}


@pytest.fixture(scope="module")
def text(data: Path) -> Path:
    return data / "text" / "val-60k-ascii.txt"


def test_figures_are_llama_cpps(said: Said, models: dict[str, Path], text: Path) -> None:
    ctx, chunks = GOLDEN["ctx"], GOLDEN["chunks"]
    code, out, _ = said("compare", *models.values(), "--text", text, "-c", ctx, "--chunks", chunks, "--json")
    found = json.loads(out)
    assert (code, found["schema"], found["ctx"], found["chunks"]) == (0, 1, ctx, chunks)
    assert found["tokens"] == chunks * (ctx // 2 - 1)
    assert found["reference"]["perplexity"] == pytest.approx(GOLDEN["F16"]["perplexity"], rel=0.005)
    means = []
    for kind, row in zip(KINDS, found["candidates"], strict=True):
        want = GOLDEN[kind]
        assert row["perplexity"] == pytest.approx(want["perplexity"], rel=0.005)
        assert row["kl_mean"] == pytest.approx(want["kl_mean"], rel=0.1)
        assert row["kl_99"] == pytest.approx(want["kl_99"], rel=0.15)  # a few dozen tokens lie above
        assert row["top1"] == pytest.approx(want["top1"], abs=0.01)
        assert row["kl_error"] < 0.1 * row["kl_mean"]
        means.append(row["kl_mean"])
    assert means == sorted(means)
    sizes = [row["bytes"] for row in (found["reference"], *found["candidates"])]
    assert sizes == sorted(sizes, reverse=True) == [path.stat().st_size for path in models.values()]


def test_figures_are_numpys(models: dict[str, Path], text: Path) -> None:
    """Against logits of whole chunks, taken one model after the other."""
    paths, ctx = [models["F16"], models["Q4_0"]], 64
    with opened(paths[0], paths[1:], CompareOptions(ctx, 2)) as found:
        assert list(found.run(text.read_bytes())) == [(1, 2), (2, 2)]
        tokenizer = found.reference.session.tokenizer
    ids = tokenizer.encode(text.read_bytes())
    chunks = [[1, *ids[i * ctx + 1 : (i + 1) * ctx]] for i in range(2)]
    logs = []
    for path in paths:
        engine = Engine.open(path, n_ctx=ctx, max_outputs=ctx)
        rows = []
        for chunk in chunks:
            engine.truncate(0)
            rows.append(engine.all_logits(chunk)[ctx // 2 : ctx - 1].astype(np.float64))
        engine.close()
        logits = np.concatenate(rows)
        logs.append(logits - np.log(np.exp(logits).sum(1, keepdims=True)))
    p, q = logs
    kl = (np.exp(p) * (p - q)).sum(1)
    targets = np.concatenate([chunk[ctx // 2 + 1 :] for chunk in chunks])
    (candidate,) = found.candidates
    d = candidate.divergence
    assert np.allclose(d.kl, kl, rtol=1e-3, atol=1e-6) and len(kl) == 2 * 31
    assert (d.mean, d.largest) == (pytest.approx(kl.mean(), rel=1e-3), pytest.approx(kl.max(), rel=1e-3))
    assert d.worst == pytest.approx(np.quantile(kl, 0.99), rel=1e-3)
    assert d.error == pytest.approx(kl.std() / np.sqrt(len(kl) - 1), rel=1e-3)
    assert d.agree == (p.argmax(1) == q.argmax(1)).tolist()
    token_nlls = [-rows[range(len(targets)), targets] for rows in (p, q)]
    assert found.reference.perplexity.value == pytest.approx(np.exp(token_nlls[0].mean()), rel=1e-3)
    ratio, error = candidate.log_ratio(found.reference)
    apart = token_nlls[1] - token_nlls[0]
    assert ratio == pytest.approx(apart.mean(), abs=1e-4)
    assert error == pytest.approx(apart.std() / np.sqrt(len(apart) - 1), rel=1e-2)


def test_perplexity_is_that_of_the_command(models: dict[str, Path], text: Path) -> None:
    with opened(models["F16"], [models["Q8_0"]], CompareOptions(256, 3)) as found:
        list(found.run(text.read_bytes()))
    for model in found.models:
        *_, last = perplexity(model.path, text.read_bytes(), n_ctx=256, chunks=3)
        assert (model.perplexity.value, model.perplexity.error, model.perplexity.n_tokens) == (
            pytest.approx(last.value, rel=1e-9),
            pytest.approx(last.error, rel=1e-9),
            last.n_tokens,
        )


def test_a_model_beside_itself(said: Said, models: dict[str, Path], text: Path) -> None:
    words = ("compare", models["Q8_0"], models["Q8_0"], "--text", text, "-c", "64", "--chunks", "2", "-t", "1")
    code, out, _ = said(*words, "--json", "--max-kl", "0")
    (row,) = json.loads(out)["candidates"]
    assert code == 0 and row["kl_max"] == pytest.approx(0, abs=1e-12) and row["top1"] == 1
    assert row["same_tokens"] == json.loads(out)["answer_tokens"] and row["log_perplexity_ratio"] == 0


def test_greedy_answers_part_where_they_part(models: dict[str, Path], text: Path) -> None:
    options = CompareOptions(256, 1, prompt="Once upon a time")
    with opened(models["F16"], [models["Q4_0"]], options) as found:
        list(found.run(text.read_bytes()))
        ids = found.reference.session.tokenizer.encode(options.prompt)
        first, second = (list(greedy(model.engine, ids, ANSWER)) for model in found.models)
    n = found.candidates[0].same_tokens
    assert found.answer == first and 0 < n < ANSWER and first[:n] == second[:n] and first[n] != second[n]


# ---- made-up models ------------------------------------------------------------------------------------------------


def about(n_bytes: int = 5 << 20) -> Description:
    odd = cast(
        GGUFFile,
        type("File", (), {"metadata": {}, "tensors": {}, "path": Path(__file__), "version": 3, "trailing_bytes": 0}),
    )
    d = describe(odd)
    object.__setattr__(d, "n_bytes", n_bytes)
    return d


def comparison(*scripts: Sequence[int], n_ctx: int = 16, names: Sequence[str] = (), **options: Any) -> Comparison:
    models = []
    for i, script in enumerate(scripts):
        s, engine = session(script, n_ctx=256)
        s.gguf.metadata["tokenizer.ggml.tokens"] = None
        engine.n_ctx = 256
        models.append(ModelResult(Path(names[i] if names else f"m-{i}.gguf"), s, about()))
    return Comparison(models, CompareOptions(n_ctx, **options))


def test_answers_end_where_the_reference_ends() -> None:
    same, eos = [word("d"), word("e")], 2
    found = comparison([*same, eos], [*same, eos], [word("d"), word("d"), eos])
    list(found.run("d" * 62))
    assert found.answer == [*same, eos]
    assert [model.same_tokens for model in found.candidates] == [3, 1]


def test_every_model_is_timed_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    found, turns = comparison([word("d")], [word("e")]), list[str]()
    for i, model in enumerate(found.models):
        prefill = model.engine.prefill
        monkeypatch.setattr(model.engine, "prefill", lambda ids, i=i, f=prefill: turns.append(str(i)) or f(ids))
    found._race()
    assert "".join(turns) == "01" * 4
    assert all(len(model.prefill) == len(model.decode) == 3 and min(model.prefill) > 0 for model in found.models)


def test_divergence_of_known_probabilities() -> None:
    p, q = np.log([0.5, 0.25, 0.25]), np.log([0.25, 0.5, 0.25])
    d = Divergence()
    d.add((p + 7).astype(np.float32)[None], (q - 3).astype(np.float32)[None])
    assert d.kl[0] == pytest.approx(0.25 * np.log(2), rel=1e-6) and d.agree == [False]
    d.add_token(p, p)
    assert d.kl[1] == 0 and d.agree[1] and d.largest == d.kl[0] and d.mean == d.kl[0] / 2
    assert np.exp(log_probabilities(np.float32([1000, 1000]))).tolist() == [0.5, 0.5]


def test_tables_fit_80_columns() -> None:
    names = [
        "a-long-name-of-a-model-F16.gguf",
        "a-long-name-of-a-model-IQ4_XS-with-much-more.gguf",
        "a-long-\x1b[2J.gguf",
    ]
    found = comparison([word("d")], [word("e")], [word("d")], names=names)
    list(found.run("d" * 62))
    found.candidates[0].divergence.kl = [12.5, 11.0]
    found.candidates[1].token_nlls = [20.0, 9.0]
    found.candidates[1].prefill = [123456.78]
    lines = list(table(found))
    assert max(map(len, lines)) <= 80 and "\x1b" not in "".join(lines)
    assert [len(line) for line in lines[4:5]] == [0] and len(lines) == 1 + 3 + 1 + 1 + 3 + 2


def test_charts_and_limits() -> None:
    found = comparison([word("d")], [word("d")], [word("d")])
    for model, kl in zip(found.candidates, (0.02, 0.08), strict=True):
        model.divergence.kl = [kl]
    (chart,) = divergence_charts(found)
    assert [bar[1:] for bar in chart.bars] == [(0.02, "0.02000"), (0.08, "0.08000")]
    assert over_limit(found, 0.05) == ["2 0.08000"] and over_limit(found, 0.08) == []
    found.candidates[0].divergence.kl = [float("nan")]
    assert over_limit(found, 0.05) == ["1 nan", "2 0.08000"]
    single = comparison([word("d")], [word("d")])
    single.candidates[0].divergence.kl = [0.02]
    assert not list(divergence_charts(single))


@pytest.mark.parametrize(
    ("value", "want"),
    [(0.00069, "0.00069"), (12.5, "12.5000"), (123456.7, " 123457"), (1.5e9, "  2e+09"), (float("nan"), "    nan")],
)
def test_numbers_fit(value: float, want: str) -> None:
    assert fit(value, 7, 5) == want


@pytest.mark.parametrize(
    ("names", "want"),
    [
        (["x/m-F16.gguf", "m-Q8_0.gguf"], ["F16", "Q8_0"]),
        (["m-Q4_0.gguf", "m-Q4_K_M.gguf"], ["Q4_0", "Q4_K_M"]),
        (["m.gguf", "m-Q8.gguf"], ["m", "m-Q8"]),
        (["a/m.gguf", "b/m.gguf"], ["m", "m"]),
        (["one.gguf", "abcdefghijklmnopq.gguf"], ["one", "…fghijklmnopq"]),
    ],
)
def test_labels(names: list[str], want: list[str]) -> None:
    assert labels([Path(name) for name in names]) == want and max(map(len, want)) <= LABEL


# ---- the command ---------------------------------------------------------------------------------------------------


def test_without_a_text(said: Said, models: dict[str, Path]) -> None:
    code, out, err = said("compare", models["F16"], models["Q8_0"], "-c", 128, "--chunks", 2)
    assert code == 0 and "--text" in err and max(map(len, out.splitlines())) <= 80
    code, out, err = said("compare", models["F16"], models["Q8_0"], "-c", 128, "--chunks", 1, "-q", "--json")
    assert (code, err, json.loads(out)["text"]) == (0, "", None)


def test_limit(said: Said, models: dict[str, Path], text: Path) -> None:
    words = ("compare", models["F16"], models["Q8_0"], models["Q4_0"], "--text", text, "-c", 128, "--chunks", 4)
    code, out, err = said(*words, "--max-kl", "0.02")
    assert code == 10 and "Q4_0" in out and "Q4_0" in err and "Q8_0" not in err
    assert said(*words, "--max-kl", "0.5")[0] == 0


def test_refusals(said: Said, models: dict[str, Path], stories: Path, text: Path, tmp_path: Path) -> None:
    with open_gguf(models["Q8_0"]) as file:
        metadata = file.metadata.raw()
        tokens = list(file.metadata["tokenizer.ggml.tokens"])
        tokens[300], tokens[301] = tokens[301], tokens[300]
        write_gguf(tmp_path / "other.gguf", metadata | {"tokenizer.ggml.tokens": tokens}, list(file.tensors.values()))
    source = ("--text", text, "-c", "64")

    def told(*words: Any) -> tuple[int, str]:
        code, out, err = said("compare", *words)
        assert not out and "Traceback" not in err
        return code, err

    code, err = told(models["F16"], tmp_path / "other.gguf", *source)
    assert code == 2 and "vocabulary" in err
    assert told(models["F16"])[0] == 2
    assert told(models["F16"], tmp_path / "none.gguf", *source)[0] == 3
    assert told(models["F16"], text, *source)[0] == 5
    assert told(models["F16"], models["Q8_0"], "--text", tmp_path / "none.txt")[0] == 3
    assert told(models["F16"], models["Q8_0"], "--text", text, "-c", "60000")[0] == 2
    assert told(models["F16"], models["Q8_0"], *source, "--max-kl", "-1")[0] == 2
    assert told(models["F16"], models["Q8_0"], *source, "--prompt", "word " * 400)[0] == 7


def test_texts_below_a_chunk() -> None:
    with pytest.raises(UsageError, match="fewer than one chunk"):
        list(comparison([word("d")], [word("d")]).run("d"))


def test_our_text_is_long_enough_for_every_vocabulary() -> None:
    words = sample_text().split()
    assert 1000 < len(words) < 1500 and sample_text().count("\n\n") > 10
