"""A headless browser, and what tests of pages look at in it; benchmarks start it too."""

import json
import os
import shutil
import time
from importlib import resources, util

import pytest

# where it says "required", a browser that is missing is a failure; else tests in it are skipped
VARIABLE = "NST_ND_BROWSER"
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
INSIDE = ("file:", "data:", "blob:", "about:", "chrome:", "devtools:")
# what axe-core calls an impact that somebody cannot get around
GRAVE = ("serious", "critical")


def installed():
    """Paths of chromium and chromedriver; None where one of them or selenium is missing."""
    binary, driver = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    return (binary, driver) if util.find_spec("selenium") and binary and driver else None


def found():
    """The same for a test, which is skipped where there is none, or fails."""
    paths = installed()
    if paths is not None:
        return paths
    words = "no chromium with chromedriver and selenium here: make debian"
    if os.environ.get(VARIABLE) == "required":
        pytest.fail(f"{words} ({VARIABLE}=required)", pytrace=False)
    pytest.skip(words)


def started(binary, driver):
    """A selenium driver that writes down what the console says (log "browser") and what is asked of the network (log
    "performance").
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.set_page_load_timeout(60)
    return chrome


def opened(browser, path):
    """Seconds until the page is loaded; what other pages said before is forgotten."""
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.execute_cdp_cmd("Network.enable", {})
    began = time.perf_counter()
    browser.get(path.resolve().as_uri())
    return time.perf_counter() - began


def complaints(browser):
    """What the console says of warnings and errors, a violated policy included."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]


def requests_outside(browser):
    """Addresses beyond the page itself that anything was asked of."""
    asked = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            found = message["params"]
            asked.append(found.get("request", found)["url"])
    assert asked, "nothing was written down, not even the page itself"
    return [url for url in asked if not url.startswith(INSIDE)]


def emulate(browser, scheme):
    """light or dark, as the system has it."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def grave_faults(browser):
    """Faults that axe-core finds and calls serious or critical, in a line each."""
    source = resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    browser.execute_script(source)
    found = browser.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, { preload: false }).then(done, (error) => done(String(error)));"
    )
    assert isinstance(found, dict), found
    assert found["passes"], "axe-core has looked at nothing"
    return [
        f"{fault['id']} ({fault['impact']}): {fault['help']}: {fault['nodes'][0]['html'][:200]}"
        for fault in found["violations"]
        if fault["impact"] in GRAVE
    ]


def until(condition, seconds=30.0):
    """What a condition gives once it holds; AssertionError where it does not in this time."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.05)


def pixels_of(browser, selector):
    """A picture or a canvas as shown, as numbers in 0 to 255, drawn onto a canvas of 64 x 64."""
    return browser.execute_async_script(
        """
        const [selector, done] = arguments, source = document.querySelector(selector);
        const draw = () => {
          const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
          canvas.width = canvas.height = 64;
          context.drawImage(source, 0, 0, 64, 64);
          done([...context.getImageData(0, 0, 64, 64).data]);
        };
        source.decode ? source.decode().then(draw) : draw();
        """,
        selector,
    )
