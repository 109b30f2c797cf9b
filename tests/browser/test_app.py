"""The app's page in a real browser: a job from dropped files to fetched ones, reloaded, stopped, looked through."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import nibabel
import numpy as np
import pytest
import soundfile
from PIL import Image

from nst_nd.cli.main import main

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "NST_ND_CACHE": ""}
PATIENCE = 60


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    for name in ("cat.png", "bricks.png"):
        Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def address(browser, tmp_path_factory):
    """Of an app of its own, which ends without a word."""
    pytest.importorskip("uvicorn")
    folder = tmp_path_factory.mktemp("app")
    browser.get_log("browser"), browser.get_log("performance")  # what was before
    environment = {**ENVIRONMENT, "NST_ND_SCRATCH": str(folder), "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen(
        [sys.executable, "-m", "nst_nd", "app", "--no-browser", "--kept", "kept"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process.stdout.readline().split()[-1]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, "")
    assert list(folder.iterdir()) == []


@pytest.fixture(autouse=True)
def nothing_wrong(browser, address):
    """After each test: nothing on the console, and nothing was asked of anybody else."""
    yield
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked
    # a player's own buttons are data
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {urlsplit(address).netloc}


def wait(condition, what, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def opened(browser, address):
    browser.get(address)
    wait(lambda: find(browser, "body[data-ready]"), "the page")


def drop(browser, inputs, iterations):
    for role, name in (("content", "cat.png"), ("style", "bricks.png")):
        find(browser, f"#{role} input[type=file]")[0].send_keys(str(inputs / name))
        wait(lambda role=role: find(browser, f"#{role} .shown img"), f"the {role}'s picture")
    wait(lambda: find(browser, "#start:enabled"), "the button")
    number = find(browser, "[aria-label='Iterations, as a number']")[0]
    number.clear()
    number.send_keys(str(iterations))


def start(browser):
    """Press the button; the selector of the new job."""
    before = {job.get_attribute("id") for job in find(browser, ".job")}
    find(browser, "#start")[0].click()

    def fresh():
        return next(iter({job.get_attribute("id") for job in find(browser, ".job")} - before), None)

    return f"#{wait(fresh, 'the job')}"


def fetch(browser, selector, folder):
    """Click on a link and take the file that comes."""
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    link = find(browser, selector)[0]
    path = folder / link.get_attribute("download")
    link.click()
    wait(path.exists, path.name)
    return path


@pytest.fixture(scope="module")
def done(browser, address, inputs):
    """The selector of a job that was run to its end."""
    opened(browser, address)
    drop(browser, inputs, 6)
    job = start(browser)
    wait(lambda: find(browser, f"{job} .badge.done"), "the end of the job")
    return job


def unfolded(browser, job):
    browser.execute_script("document.querySelector(arguments[0]).open = true", job)


def test_a_job_from_dropped_files_to_fetched_ones(browser, done, inputs, tmp_path):
    job = done
    unfolded(browser, job)
    assert "step 6 of 6" in find(browser, f"{job} .going p")[0].text
    picture = find(browser, f"{job} figure.main img")[0]
    wait(lambda: browser.execute_script("return arguments[0].naturalWidth", picture) == 56, "the result's picture")
    assert find(browser, f"{job} .curve polyline")[0].get_attribute("points").count(",") >= 2
    result = fetch(browser, f"{job} [data-file=result]", tmp_path)
    config = fetch(browser, f"{job} [data-file=yaml]", tmp_path)
    sidecar = fetch(browser, f"{job} [data-file=sidecar]", tmp_path)
    assert json.loads(sidecar.read_text())["status"] == "done"
    for name in ("cat.png", "bricks.png"):
        (tmp_path / name).write_bytes((inputs / name).read_bytes())
    with pytest.raises(SystemExit) as left:
        main(["run", str(config), "--quiet"])
    assert left.value.code == 0
    assert (tmp_path / config.stem / result.name).read_bytes() == result.read_bytes()


def test_a_closed_page_does_not_end_a_job(browser, address, inputs):
    opened(browser, address)
    drop(browser, inputs, 100_000)
    job = start(browser)
    wait(lambda: re.search(r"step \d", find(browser, f"{job} .going p")[0].text), "a step")
    browser.get("about:blank")
    opened(browser, address)
    wait(lambda: find(browser, "#content .shown img"), "what was dropped before")
    assert find(browser, f"{job} .badge.running")
    assert find(browser, f"{job}[open]")
    first = find(browser, f"{job} figure.main img")[0].get_attribute("src")
    wait(lambda: find(browser, f"{job} figure.main img")[0].get_attribute("src") != first, "the next picture")
    find(browser, f"{job} button.stop")[0].click()
    wait(lambda: find(browser, f"{job} .badge.stopped"), "its end")
    assert find(browser, f"{job} [data-file=result]")
    find(browser, f"{job} button.remove")[0].click()
    wait(lambda: not find(browser, job), "its removal")


def test_what_is_wrong_is_said(browser, address, inputs, tmp_path):
    opened(browser, address)
    drop(browser, inputs, 1)
    hostile = tmp_path / "<b onmouseover=alert(1)>.png"
    hostile.write_bytes(b"no picture")
    find(browser, "#content input[type=file]")[0].send_keys(str(hostile))
    words = find(browser, "#content .words")[0]
    wait(lambda: "broken or mislabelled" in words.text, "the error")
    assert "_b onmouseover=alert(1)_.png" in words.text
    assert not find(browser, "#content .words b")
    assert find(browser, "#start:disabled")
    find(browser, "#content .clear")[0].click()
    wait(lambda: "Drop the file" in words.text, "the place to be empty")


def test_volumes_by_slices_and_sounds(browser, address, tmp_path):
    """The slice slider changes what is seen of all three; a sound has a duration."""
    from selenium.webdriver import Keys

    rng = np.random.default_rng(1)
    for name in ("a.nii.gz", "b.nii.gz"):
        nibabel.save(
            nibabel.Nifti1Image(rng.normal(100, 30, (20, 18, 12)).astype(np.float32), np.eye(4)), tmp_path / name
        )
    soundfile.write(tmp_path / "c.wav", rng.normal(0, 0.1, 8000), 8000)
    opened(browser, address)
    for role, name in (("content", "a.nii.gz"), ("style", "b.nii.gz")):
        find(browser, f"#{role} input[type=file]")[0].send_keys(str(tmp_path / name))
        wait(lambda role=role: find(browser, f"#{role} .shown canvas"), f"the {role}'s picture")
    assert [option.text for option in find(browser, "#preset option")] == ["volume", "ct"]
    find(browser, "[aria-label='Iterations, as a number']")[0].clear()
    find(browser, "[aria-label='Iterations, as a number']")[0].send_keys("1")
    job = start(browser)
    wait(lambda: find(browser, f"{job} .badge.done"), "the end of the job")
    canvases = find(browser, f"{job} canvas")
    assert len(canvases) == 3
    middle = wait(lambda: _shown(browser, canvases), "slices")
    find(browser, f"{job} .slicing input")[0].send_keys(Keys.HOME)
    first = _shown(browser, canvases)
    assert all(before != after for before, after in zip(middle, first, strict=True))
    assert find(browser, f"{job} .slicing output")[0].text == "1, at 0.0 mm"
    find(browser, "#content input[type=file]")[0].send_keys(str(tmp_path / "c.wav"))
    wait(lambda: "must be alike" in find(browser, "#error")[0].text, "the error")
    find(browser, "#style input[type=file]")[0].send_keys(str(tmp_path / "c.wav"))
    wait(lambda: find(browser, "#style .shown img"), "the sound's picture")
    find(browser, "[aria-label='Iterations, as a number']")[0].send_keys("0000")
    job = start(browser)
    sound = wait(lambda: find(browser, f"{job} audio"), "a player")[0]
    wait(lambda: browser.execute_script("return arguments[0].duration", sound) == 1, "its duration")
    for _ in range(2):
        find(browser, f"{job} button.stop")[0].click()
    wait(lambda: find(browser, f"{job} .badge.stopped"), "its end")


def _shown(browser, canvases):
    """What canvases show, once all of them show something."""
    script = """
        const blank = document.createElement("canvas");
        [blank.width, blank.height] = [arguments[0].width, arguments[0].height];
        return arguments[0].toDataURL() === blank.toDataURL() ? null : arguments[0].toDataURL();
    """
    pictures = [browser.execute_script(script, canvas) for canvas in canvases]
    return pictures if all(pictures) else None


def test_a_second_drop_takes_the_place_of_one_that_is_coming(browser, address, inputs, tmp_path):
    opened(browser, address)
    browser.execute_script("""
        const real = window.fetch;
        const never = (signal) => new Promise((_, refuse) => {
            const end = () => refuse(new Error("aborted"));
            signal.aborted ? end() : signal.addEventListener("abort", end);
        });
        window.fetch = (path, options) => path.includes("slow.png") ? never(options.signal) : real(path, options);
    """)
    (tmp_path / "slow.png").write_bytes((inputs / "cat.png").read_bytes())
    field, words = find(browser, "#content input[type=file]")[0], find(browser, "#content .words")[0]
    field.send_keys(str(tmp_path / "slow.png"))
    wait(lambda: "uploading" in words.text, "the first upload")
    field.send_keys(str(inputs / "cat.png"))
    wait(lambda: words.text.startswith("cat.png"), "the second file")
    assert "bad" not in words.get_attribute("class")
    field.send_keys(str(tmp_path / "slow.png"))
    wait(lambda: "uploading" in words.text, "the third upload")
    find(browser, "#content .clear")[0].click()
    wait(lambda: "Drop the file" in words.text, "the place to be empty")
    field.send_keys(str(inputs / "cat.png"))
    find(browser, "#style input[type=file]")[0].send_keys(str(inputs / "bricks.png"))
    wait(lambda: find(browser, "#start:enabled"), "both files")


def test_a_page_that_may_remember_nothing(browser, address):
    browser.execute_cdp_cmd("Page.enable", {})
    forbid = (
        "for (const s of ['localStorage', 'sessionStorage']) Object.defineProperty(window, s, {get() { throw 1; }});"
    )
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": forbid})["identifier"]
    try:
        opened(browser, address)
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": script})


def test_by_keyboard(browser, address, inputs, done):
    """Everything that can be done is reached with the tabulator, and sliders move with the arrows."""
    from selenium.webdriver import ActionChains, Keys

    opened(browser, address)
    drop(browser, inputs, 1)
    unfolded(browser, done)
    reached = set()
    browser.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    for _ in range(60):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        at = browser.switch_to.active_element
        reached.add(at.get_attribute("id") or at.get_attribute("class") or at.tag_name)
    assert {"theme", "preset", "knob-style_weight", "knob-iterations", "plain clear", "button", "remove"} <= reached
    slider = find(browser, "#knob-style_weight")[0]
    number = find(browser, "[aria-label='Style weight, as a number']")[0]
    before = float(number.get_attribute("value"))
    slider.send_keys(Keys.ARROW_RIGHT)
    assert float(number.get_attribute("value")) > before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(browser, address, inputs, done, scheme):
    """axe-core finds nothing serious, in a page with files, knobs and jobs of several kinds, everything unfolded."""
    axe = pytest.importorskip("axe_core_python")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text()
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    opened(browser, address)
    drop(browser, inputs, 1)
    wait(lambda: find(browser, f"{done} figure.main img"), "the job's picture")
    browser.execute_script("for (const box of document.querySelectorAll('details')) box.open = true")
    browser.execute_script(script)
    found = browser.execute_async_script("axe.run().then(arguments[0])")
    bad = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert not bad, [(v["id"], [node["html"] for node in v["nodes"]]) for v in bad]
    assert len(found["passes"]) > 10
