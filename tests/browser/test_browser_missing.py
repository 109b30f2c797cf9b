"""Where there is no browser, tests in it are skipped; where CI installs one, they fail."""

import browser_pages
import pytest


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_open():
    """In place of the other one, which wants a browser."""


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


def test_without_a_browser_tests_are_skipped(monkeypatch):
    monkeypatch.delenv("NST_ND_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no chromium with chromedriver"):
        browser_pages.found()


def test_without_a_browser_that_is_required_tests_fail(monkeypatch):
    monkeypatch.setenv("NST_ND_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match="no chromium with chromedriver"):
        browser_pages.found()
