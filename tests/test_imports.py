"""The rooms of WORKSPACE.md, of which each imports those after it alone."""

import ast
from pathlib import Path

import sa_vae_tf

ROOT = Path(sa_vae_tf.__file__).parent


def order() -> dict[str, int]:
    """Returns the place of each room in the order that WORKSPACE.md gives."""
    text = (ROOT.parent / "WORKSPACE.md").read_text(encoding="utf-8")
    _, _, rooms = text.partition("Imports run one way: ")
    levels = rooms.partition(".\n")[0].split("->")
    return {room.strip(): place for place, level in enumerate(levels) for room in level.split(",")}


def imported(file: Path) -> set[str]:
    """Returns the rooms that a file imports from, if only for types."""
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == sa_vae_tf.__name__:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            names.append(node.module or "")
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == sa_vae_tf.__name__ and len(part) > 1}


def test_imports_run_one_way():
    places = order()
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms == places.keys() - {"bin"}
    for room in rooms:
        for file in (ROOT / room).rglob("*.py"):
            others = (imported(file) & rooms) - {room}
            assert all(places[other] > places[room] for other in others), f"{file} imports from {others}"


def test_what_all_rooms_import_imports_no_room():
    for file in ROOT.glob("*.py"):
        assert not imported(file) & order().keys(), file


def test_inference_needs_tensorflow_and_numpy_alone():
    for file in (ROOT / "inference").rglob("*.py"):
        assert imported(file) <= {"inference"}, file
