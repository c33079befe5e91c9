"""What Ollama's requests may say about an answer."""

from __future__ import annotations

from ..forms import named_format
from ..http.errors import refused
from ..http.fields import Fields
from ..options import Options, sampling_fields, stop_field
from ..text_model import TextModel

# How Ollama's own engine would be run; the server has options of its own for that.
ENGINE = ("num_thread", "num_gpu", "main_gpu", "num_batch", "numa", "low_vram", "use_mmap", "use_mlock", "num_keep")
EFFORTS = ("low", "medium", "high")
LATEST = ":latest"


def name_field(fields: Fields) -> str | None:
    """`model`; Ollama's clients may add a tag."""
    name = fields.text("model") or fields.text("name")
    return name.removesuffix(LATEST) if name else None


def options_field(fields: Fields) -> tuple[Options, int | None]:
    """`options` and `think`, and how many tokens of context are asked for. Raises ApiError."""
    given = fields.object("options") or Fields({}, "options")
    limit = given.whole("num_predict", -2)
    context = given.whole("num_ctx", 1)
    given.unless("tfs_z", (), "is not supported")
    given.ignore(*ENGINE)
    options = Options(sampling_fields(given), None if limit is None or limit < 0 else limit, stop_field(given))
    given.done()
    think = fields.any("think")
    if isinstance(think, bool):
        options.think = "on" if think else "off"
    elif think in EFFORTS:
        options.think, options.effort = "auto", think
    elif think is not None:
        raise refused(fields.place("think"), f"must be true, false, {', '.join(EFFORTS)}")
    options.form = named_format(fields)
    fields.unless("logprobs", [False], "is not supported here; /v1/chat/completions has it")
    fields.unless("top_logprobs", [0], "is not supported here; /v1/chat/completions has it")
    fields.unless("images", [[]], "only text is supported")
    fields.unless("truncate", [False], "a prompt that is too long is refused")
    fields.unless("shift", [False], "an answer ends where the context is full")
    fields.ignore("keep_alive")
    return options, context


def check_context(model: TextModel, wanted: int | None) -> None:
    """Raises ApiError where a request asks for more context than each request has."""
    if wanted is not None and wanted > model.session.n_ctx:
        said = f"each request has {model.session.n_ctx} tokens of context; start the server with a larger --ctx"
        raise refused("options.num_ctx", said)
