"""A program: the probe as a frozen program runs it, with all modules in memory and no interpreter to start.

    python frozen.py FOLDER [ARGUMENTS OF THE PROBE]

As PyInstaller's programs and their like: modules have no file, `sys.frozen` is set, and `sys.executable` is no Python.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple


class Memory(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules among compiled ones. `code` is by name: whether it is a package, and what it runs."""

    def __init__(self, code: Dict[str, Tuple[bool, Any]]) -> None:
        self.code = code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        if name not in self.code:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin="frozen", is_package=self.code[name][0])

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        exec(self.code[module.__name__][1], module.__dict__)  # noqa: S102  # our own


def compiled(folder: Path) -> Dict[str, Tuple[bool, Any]]:
    """Both packages, and the probe beside this file."""
    found: Dict[str, Tuple[bool, Any]] = {}
    for package in ("zkwire", "zkdisco"):
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found[name] = is_package, compile(path.read_text(encoding="utf-8"), f"<frozen {name}>", "exec")
    text = Path(__file__).with_name("probe.py").read_text(encoding="utf-8")
    return {**found, "probe": (False, compile(text, "<frozen probe>", "exec"))}


def main(folder: str, *given: str) -> int:
    """Run the probe; the exit status."""
    memory = Memory(compiled(Path(folder)))
    sys.path[:] = [entry for entry in sys.path if entry and not (Path(entry) / "zkwire").exists()]
    sys.meta_path.insert(0, memory)
    sys.frozen, sys.executable = True, ""  # type: ignore[attr-defined]
    import probe  # type: ignore[import-not-found]

    names: List[str] = sorted(memory.code)
    probe.Probe.modules = lambda self: [name for name in names if name not in ("probe", "zkwire", "zkdisco")]
    if hasattr(probe.Probe("", None, False).zkwire, "__file__"):
        raise SystemExit("zkwire is a file, and should be in memory")
    return int(probe.main(list(given)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
