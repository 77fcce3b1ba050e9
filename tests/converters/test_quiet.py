from __future__ import annotations

import logging
import sys
import warnings

import pytest

from converters.quiet import quiet


@pytest.mark.parametrize("fails", [False, True])
def test_it_is_quiet_within_and_as_it_was_afterwards(
    fails: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    own = logging.getLogger("some.tool")
    own.setLevel(logging.INFO)
    levels = logging.getLogger().level, own.level

    def chatter() -> None:
        print("out")
        print("err", file=sys.stderr)
        warnings.warn("heed this", stacklevel=1)
        own.warning("mind this")
        logging.getLogger("another").warning("and this")

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            with quiet("some.tool"):
                chatter()
                if fails:
                    raise ValueError
        except ValueError:
            assert fails
        assert not warned
        assert capsys.readouterr() == ("", "")
        assert not caplog.records
        assert (logging.getLogger().level, own.level) == levels
        chatter()
    assert len(warned) == 1
    assert capsys.readouterr() == ("out\n", "err\n")
    assert len(caplog.records) == 2
