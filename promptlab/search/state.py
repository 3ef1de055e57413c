"""What an interrupted search goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptlab.errors import SearchError
from promptlab.files import atomic_file


class SearchState:
    """One JSON file, replaced whole at each step; without a folder nothing is kept.

    Args:
        folder: where the file is.
        name: of the file, such as the engine's.
        search: what the search depends on; plain JSON. A file of another search is refused.
    """

    def __init__(self, folder: Path | None, name: str, search: Mapping[str, Any]) -> None:
        self.path = None if folder is None else Path(folder) / f"{name}.json"
        self.search = json.loads(json.dumps(search))

    def load(self) -> Any:
        """What was saved last; None if nothing was.

        Raises:
            SearchError: if the file can't be read, or belongs to another search.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            saved = json.loads(self.path.read_text(encoding="utf-8"))
            search, progress = dict(saved["search"]), saved["progress"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SearchError(
                f"state {str(self.path)!r} can't be read ({type(error).__name__}: {error}); delete it to begin anew."
            ) from None
        other = [key for key in {**search, **self.search} if search.get(key) != self.search.get(key)]
        if other:
            raise SearchError(
                f"state {str(self.path)!r} is of a search with another {', '.join(other)}; choose another folder, or "
                "delete it to begin anew."
            )
        return progress

    def save(self, progress: Any) -> None:
        """Replace what was saved; ``progress`` is plain JSON."""
        if self.path is not None:
            with atomic_file(self.path) as path:
                path.write_text(json.dumps({"search": self.search, "progress": progress}) + "\n", encoding="utf-8")
