"""A masked language model of 23 M parameters as an ordinary Hugging Face folder."""

from pathlib import Path


def folder() -> Path:
    """The folder with weights (fp16), configuration, tokenizer and reference logits."""
    return Path(__file__).parent / "model"
