"""Put copies where a checkout without symbolic links has text files instead.

python .ci/links.py

``graphprune/passes`` and ``graphprune/backends`` are links to the folders at the top level. Git
writes a link as a file that holds its target where the system or its settings know no links. A copy
of an earlier call is made anew; a link is left alone.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("passes", "backends")


def replace_links(root: Path = ROOT) -> list[Path]:
    """Copy the linked folders to where their links should be; the copies that were made."""
    made = []
    for name in LINKED:
        link = root / "graphprune" / name
        if link.is_symlink():
            continue
        if link.is_dir():
            shutil.rmtree(link)
        else:
            link.unlink(missing_ok=True)
        shutil.copytree(root / name, link, ignore=shutil.ignore_patterns("__pycache__"))
        made.append(link)
    return made


if __name__ == "__main__":
    for copy in replace_links():
        print(f"{copy.relative_to(ROOT)}: a copy")
