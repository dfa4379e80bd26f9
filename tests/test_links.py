"""The script that makes copies where a checkout has no links."""

import importlib.util
from pathlib import Path
from types import ModuleType

SCRIPT = Path(__file__).parents[1] / ".ci" / "links.py"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("links", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _checkout(folder: Path) -> Path:
    """A checkout of two rooms whose links git wrote as text files."""
    (folder / "graphprune").mkdir()
    for name in ("passes", "backends"):
        (folder / name).mkdir()
        (folder / name / "base.py").write_text(name)
        (folder / "graphprune" / name).write_text(f"../{name}")
    return folder


def test_text_files_become_copies_and_copies_are_made_anew(tmp_path: Path) -> None:
    replace_links, root = _script().replace_links, _checkout(tmp_path)
    assert len(replace_links(root)) == 2
    assert (root / "graphprune" / "passes" / "base.py").read_text() == "passes"
    (root / "passes" / "base.py").write_text("changed")
    replace_links(root)
    assert (root / "graphprune" / "passes" / "base.py").read_text() == "changed"


def test_links_stay(tmp_path: Path) -> None:
    replace_links, root = _script().replace_links, _checkout(tmp_path)
    link = root / "graphprune" / "passes"
    link.unlink()
    link.symlink_to("../passes")
    assert [copy.name for copy in replace_links(root)] == ["backends"]
    assert link.is_symlink()
