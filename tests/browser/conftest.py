"""One headless browser for all tests of pages; see `browser_pages.found` for where there is none."""

import pytest
from browser_pages import found, started


@pytest.fixture(scope="session")
def browser():
    """A selenium driver, see `browser_pages.started`."""
    chrome = started(*found())
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_open(browser):
    """A page with a volume draws on as long as it is open, and other tests want the processor."""
    yield
    browser.get("about:blank")
