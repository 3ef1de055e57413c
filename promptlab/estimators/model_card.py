"""The model card of a saved classifier."""

from __future__ import annotations

import json
from typing import Any

TASKS = {"TokenClassifier": "token-classification", "PromptGenerator": "text-generation"}


def card(settings: dict[str, Any], n_trained: int) -> str:
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
    example = '[["a", "text"]]' if name == "TokenClassifier" else '["a text"]'
    return (
        f"---\nlibrary_name: promptlab\npipeline_tag: {TASKS.get(name, 'text-classification')}\n"
        f"base_model: {json.dumps(settings['model']['name'])}\n---\n\n"
        f"# A promptlab model\n\n| | |\n|---|---|\n{table}\n\n"
        "```python\n"
        f"from promptlab import {name}\n\n"
        f'{name}.from_pretrained("this folder").predict({example})\n```\n'
    )
