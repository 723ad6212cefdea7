"""What the room prints at its end: how many inputs of each kind were tried, and the seed that made them."""

from tests.fuzz.tried import TRIED


def pytest_terminal_summary(terminalreporter):
    if not TRIED:
        return
    terminalreporter.section("malformed input")
    if (seed := terminalreporter.config.option.hypothesis_seed) is not None:
        terminalreporter.line(f"seed: {seed}")
    for kind, tried in TRIED.items():
        terminalreporter.line(
            f"{kind}: {tried.total()} tried, {tried['refused']} refused, {tried.seconds:.1f} s in its readers"
        )
