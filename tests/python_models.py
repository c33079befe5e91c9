"""Models of the Python API whose answers are given, and the text that they have in their context."""

from __future__ import annotations

from chatting import opened

from llmlocal import Model

TEMPLATE = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
QUESTION = "How do I get a model?"
ONCE = "Once upon a time"


def scripted(*answers: str, template: str | None = TEMPLATE, n_ctx: int = 512, delay: float = 0) -> Model:
    """A model that gives these answers, one after the other."""
    script = {"answers": answers, "n_ctx": n_ctx, "delay": delay} | ({"template": template} if template else {})
    return Model(opened(script))


def read(model: Model) -> str:
    """The text that the model has in its context."""
    return model.detokenize(model._access.session.engine.history()).replace("▁", " ")
