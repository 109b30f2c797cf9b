"""One headless browser for all tests of pages; they are skipped where there is none (`make debian` installs it)."""

import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# WebGL in software, since there is no GPU
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--autoplay-policy=no-user-gesture-required",
    "--window-size=1280,1000",
    # nothing of the browser's own may pass for a request of the page
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
)


@pytest.fixture(scope="session")
def browser():
    """A selenium driver that writes down what the console says (log "browser") and what is asked of the network (log
    "performance").
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no chromium with chromedriver here: make debian")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.set_page_load_timeout(60)
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_open(browser):
    """A page with a volume draws on as long as it is open, and other tests want the processor."""
    yield
    browser.get("about:blank")
