"""How far a script has come."""

from sa_vae_tf import progress
from sa_vae_tf.progress import progress_bar


def test_a_line_now_and_then(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    tell = progress_bar("example")
    for done in range(1, 6):
        now = 8.0 * done
        tell(1000 * done, 5000)
    assert capsys.readouterr().out == "3,000 of 5,000 examples\n"


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True)
    show = progress_bar("image")
    show(1, 2)
    show(2, 2)
    assert "2/2" in capsys.readouterr().out
