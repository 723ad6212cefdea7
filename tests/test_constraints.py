"""The pinned versions: those with checksums are the same."""

import re

from tests.launcher import ROOT


def test_every_version_has_checksums():
    pinned = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    hashed = (ROOT / "constraints-hashed.txt").read_text()
    entries = re.split(r"\n(?! )", re.sub(r"^#.*\n", "", hashed, flags=re.MULTILINE).strip())
    assert [entry.split(" \\\n")[0] for entry in entries] == pinned
    for entry in entries:
        lines = entry.split(" \\\n")[1:]
        assert lines
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line) for line in lines)
