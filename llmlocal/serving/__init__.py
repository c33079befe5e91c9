"""Models behind an HTTP API: OpenAI's and Anthropic's protocols over schedulers and embedders, safe by default.

The only room that loads starlette and uvicorn; prints nothing.
"""
