"""The model card of a saved classifier."""

from __future__ import annotations

import json
from collections.abc import Mapping

from promptlab.core.json_loader import Json


def card(settings: Mapping[str, Json], n_trained: int, *, task: str, example: str) -> str:
    """Return a model card in Markdown.

    Args:
        settings: as they are saved.
        task: what the hub calls it, such as ``"text-classification"``.
        example: what ``predict`` may be called with, in Python.
    """
    template, name = settings.get("template"), settings["estimator"]
    classes = settings.get("classes") or settings.get("tags")
    lines = {
        "Estimator": name,
        "Base model": settings["model"]["name"],
        "Template": f"`{template.get('source', template['kind'])}`" if template else "none",
        "Classes": ", ".join(classes) if classes else "none",
        "Tuning": settings["tuning"]["kind"],
        "Trained weights": f"{n_trained:,}",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in lines.items())
    return (
        f"---\nlibrary_name: promptlab\npipeline_tag: {task}\n"
        f"base_model: {json.dumps(settings['model']['name'])}\n---\n\n"
        f"# A promptlab model\n\n| | |\n|---|---|\n{table}\n\n"
        "```python\n"
        f"from promptlab import {name}\n\n"
        f'{name}.from_pretrained("this folder").predict({example})\n```\n'
    )
