"""Jobs: one at a time, stopped, kept, removed, failed; and one that computes, against the command line."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import yaml
from app_files import picture, service_in

from nst_nd.app import jobs as module
from nst_nd.app import orders
from nst_nd.app import workplace as workplaces
from nst_nd.app.workplace import PREFIX, remove_stale, workplace
from nst_nd.cli.main import main


@pytest.fixture
def here(tmp_path):
    made = service_in(tmp_path)
    yield made
    made.service.jobs.close()


def test_a_job_and_its_files(here, stub):
    name = here.start(style_weight=5)
    job = here.until(name, "done")
    assert job["step"]["iteration"] == 2
    assert job["losses"] == [[1, 1.0], [2, 0.5]]
    assert job["output"] == "c_s.png"
    assert set(job["files"]) == {"result", "sidecar", "yaml"}
    fetched = here("GET", f"api/jobs/{name}/files/yaml")
    assert fetched.headers["content-disposition"] == 'attachment; filename="c_s.yaml"'
    values = yaml.safe_load(fetched.text)
    assert (values["content"], values["style"], values["output"]) == ("c.png", "s.png", "c_s.png")
    assert (values["style_weight"], values["iterations"], values["threads"]) == (5, 2, 1)
    for which in ("content", "style"):
        assert here("GET", f"api/jobs/{name}/view/{which}").content.startswith(b"\x89PNG")
        assert job["facts"][which]["form"] == "picture"


def test_one_at_a_time(here, stub):
    first, second = here.start(100), here.start(100)
    here.until_a_step(first)
    assert here.job(second)["state"] == "queued"
    assert here("DELETE", f"api/jobs/{first}").status_code == 409
    here("POST", f"api/jobs/{first}/stop")
    stopped = here.until(first, "stopped")
    assert stopped["ended"]["status"] == "interrupted"
    assert "result" in stopped["files"]
    here.until_a_step(second)
    third = here.start(2)
    assert here("POST", f"api/jobs/{third}/stop").json()["state"] == "stopped"
    here("POST", f"api/jobs/{second}/stop")
    here.until(second, "stopped")
    assert here.job(third)["state"] == "stopped"


def test_two_at_a_time_share_the_machine(tmp_path, stub, monkeypatch):
    monkeypatch.setattr(orders, "whole_memory", lambda: 10 * 2**30)
    monkeypatch.setattr(orders.torch, "get_num_threads", lambda: 5)
    here = service_in(tmp_path, at_once=2)
    try:
        first, second, third = (here.start(100) for _ in range(3))
        here.until_a_step(first)
        here.until_a_step(second)
        assert here.job(third)["state"] == "queued"
        values = yaml.safe_load(here("GET", f"api/jobs/{second}/files/yaml").text)
        assert values["threads"] == 2
        assert values["max_memory"] == f"{int(orders.SHARE * 10 * 2**10) // 2}MiB"
        here("POST", f"api/jobs/{second}/stop")
        here.until(second, "stopped")
        here.until_a_step(third)
        assert here.job(first)["state"] == "running"
    finally:
        here.service.jobs.close()


def test_asked_twice_to_stop_is_asked_once(here, stub):
    name = here.start(101)
    here.until_a_step(name)
    for _ in range(3):
        assert here("POST", f"api/jobs/{name}/stop").json()["state"] == "stopping"
    assert "result" in here.until(name, "stopped")["files"]
    other = here.start(101)
    here.until_a_step(other)
    here("POST", f"api/jobs/{other}/stop")
    here("POST", f"api/jobs/{other}/stop?at_once=1")
    assert "result" not in here.until(other, "stopped")["files"]


def test_what_cannot_be_kept_is_said_and_saved(here, stub, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (here.folder / "kept").write_text("a file, where a folder should be")
    first, second = here.start(2), here.start(100)
    here.until(first, "done")
    assert "could not be kept" in here("POST", f"api/jobs/{first}/keep").json()["error"]
    here.until_a_step(second)
    here("POST", f"api/jobs/{second}/keep")
    jobs = here.service.jobs
    jobs.close()
    (lost,) = jobs.lost()
    assert lost.startswith("c_s.png: it could not be kept")
    (saved,) = [path for path in tmp_path.rglob("c_s.png") if "nst-nd-kept-" in str(path)]
    assert saved.read_bytes() == b"result"
    assert saved.is_relative_to(jobs.get(second).kept)


def test_files_of_slots_may_go_while_a_job_waits(here, stub):
    name = here.start(2)
    for slot in list(here.service.uploads.slots):
        here("DELETE", f"api/slots/{slot}")
    assert here.until(name, "done")["files"]
    folder = here.service.jobs.get(name).folder
    assert here("DELETE", f"api/jobs/{name}").status_code == 204
    assert not folder.exists()
    assert here("GET", "api/jobs").json() == {"jobs": []}
    assert here("POST", f"api/jobs/{name}/stop").status_code == 404


def test_failures_say_why(here, stub):
    broken = here.until(here.start(13), "failed")
    assert broken["error"] == "its process ended with status 9: Traceback: it broke"
    refused = here.until(here.start(14), "failed")
    assert refused["error"] == "the style is constant"
    assert set(refused["files"]) == {"yaml"}
    assert here.until(here.start(2), "done")


def test_what_is_kept(here, stub):
    first, second = here.start(2), here.start(100)
    here.until(first, "done")
    assert here("POST", f"api/jobs/{first}/keep").json()["kept"] == str(here.folder / "kept" / "c_s")
    here.until_a_step(second)
    assert here("POST", f"api/jobs/{second}/keep").json()["kept"] == ""
    here.service.jobs.close()  # as at the end of the app: what is to be kept is written first
    assert here.service.jobs.get(second).state == "stopped"
    kept = here.folder / "kept"
    for folder in ("c_s", "c_s-2"):
        found = sorted(str(path.relative_to(kept / folder)) for path in (kept / folder).rglob("*") if path.is_file())
        assert found == ["c.png", "c_s.yaml", "c_s/c_s.png", "c_s/c_s.png.json", "s.png"]
    assert sorted(path.name for path in kept.iterdir()) == ["c_s", "c_s-2"]


@pytest.mark.parametrize("asked", ["while it ran", "at its end"])
def test_copies_are_made_to_their_end(here, stub, monkeypatch, asked):
    """The app ends while a large result is being copied."""
    begun, copied = threading.Event(), module._copied

    def slowly(*words):
        begun.set()
        time.sleep(0.7)
        return copied(*words)

    monkeypatch.setattr(module, "_copied", slowly)
    name = here.start(2 if asked == "at its end" else 100)
    jobs = here.service.jobs
    if asked == "at its end":
        here.until(name, "done")
        threading.Thread(target=jobs.keep, args=(name,)).start()
    else:
        here.until_a_step(name)
        jobs.keep(name)
        jobs.stop(name)
    assert begun.wait(20)
    jobs.close()
    assert (here.folder / "kept" / "c_s" / "c_s" / "c_s.png").read_bytes() == b"result"
    assert jobs.lost() == []


def test_no_more_jobs_than_are_allowed(here, stub, monkeypatch):
    monkeypatch.setattr("nst_nd.app.jobs.MOST_JOBS", 1)
    here.start(2)
    content, style = here.pair()
    answer = here("POST", "api/jobs", json={"content": content, "style": style, "preset": "image", "settings": {}})
    assert answer.status_code == 409


def test_content_and_style_of_one_name_or_one_file(here, stub):
    one, other = here.upload(picture(1), "a.png").json()["slot"], here.upload(picture(2), "a.png").json()["slot"]
    for style, expected in ((other, "style/a.png"), (one, "a.png")):
        job = here("POST", "api/jobs", json={"content": one, "style": style, "preset": "image", "settings": {}}).json()
        assert (job["content"], job["style"]) == ("a.png", expected)
        assert (here.service.jobs.get(job["name"]).order.folder / expected).read_bytes()


def test_the_same_bytes_as_the_command_line(here, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    name = here.start(3, original_colors=True)
    job = here.until(name, "done", "failed", seconds=120)
    assert job["state"] == "done", job["error"]
    assert job["views"] >= 2
    assert job["facts"]["result"]["form"] == "picture"
    assert here("GET", f"api/jobs/{name}/view/result").content.startswith(b"\x89PNG")
    folder = tmp_path / "command"
    folder.mkdir()
    for seed, file in ((1, "c.png"), (2, "s.png")):
        (folder / file).write_bytes(picture(seed))
    (folder / "c_s.yaml").write_bytes(here("GET", f"api/jobs/{name}/files/yaml").content)
    with pytest.raises(SystemExit) as left:
        main(["run", str(folder / "c_s.yaml"), "--quiet"])
    assert left.value.code == 0
    assert (folder / "c_s" / "c_s.png").read_bytes() == here("GET", f"api/jobs/{name}/files/result").content


def test_a_workplace_goes_at_its_end_and_stale_ones_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv("NST_ND_SCRATCH", str(tmp_path))
    monkeypatch.setattr(workplaces, "STALE", -1.0)
    foreign = tmp_path / "other"
    foreign.mkdir()
    killed = tmp_path / f"{PREFIX}killed"
    (killed / "uploads").mkdir(parents=True)
    link = tmp_path / f"{PREFIX}link"
    link.symlink_to(foreign)
    with workplace() as first:
        assert not killed.exists()
        assert oct(first.stat().st_mode & 0o777) == "0o700"
        (first / "file").write_text("x")
        assert remove_stale(tmp_path) == []
        with workplace() as second:
            assert second != first
        assert first.exists()
        assert not second.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [link.name, "other"]


def test_the_end_of_the_app(tmp_path):
    """Started as a command, ended by SIGTERM while a job is at work: nothing is left but what was kept.

    Ctrl-C ends the app of tests/browser.
    """
    stubs = str(Path(__file__).parent)
    code = "from nst_nd.app import jobs; jobs.WORKER = 'stub_worker'; from nst_nd.cli.main import main; main()"
    environment = {**os.environ, "NST_ND_SCRATCH": str(tmp_path), "PYTHONPATH": f"{Path.cwd()}:{stubs}"}
    words = ["app", "--no-browser", "--kept", str(tmp_path / "kept")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        address = process.stdout.readline().split()[-1]
        names = [_ask(address, "POST", "api/slots")["slot"] for _ in range(2)]
        for seed, (slot, name) in enumerate(zip(names, ("c.png", "s.png"), strict=True)):
            _ask(address, "PUT", f"api/slots/{slot}?name={name}", picture(seed))
        wanted = {"content": names[0], "style": names[1], "preset": "image", "settings": {"iterations": 100}}
        jobs = [_ask(address, "POST", "api/jobs", wanted)["name"] for _ in range(2)]
        _ask(address, "POST", f"api/jobs/{jobs[0]}/keep")
        for _ in range(100):
            if _ask(address, "GET", "api/jobs")["jobs"][1]["step"]:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert err == ""
    assert out.splitlines()[-1] == f"kept: {tmp_path / 'kept' / 'c_s'}"
    assert (tmp_path / "kept" / "c_s" / "c_s" / "c_s.png").read_bytes() == b"result"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def _ask(address, method, path, sent=None):
    import httpx2

    body = {"content": sent} if isinstance(sent, bytes) else {"json": sent} if sent else {}
    return httpx2.request(method, f"{address}{path}", **body).raise_for_status().json()
