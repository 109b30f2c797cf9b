"""Who is let in, what may be uploaded, what may be asked for."""

import io
import json
import threading

import numpy as np
import pytest
from app_files import HERE, OTHER, TOKEN, picture, service_in

from nst_nd.app import looking
from nst_nd.app.guard import HEADERS


@pytest.fixture
def here(tmp_path):
    made = service_in(tmp_path)
    yield made
    made.service.jobs.close()


def test_the_page_and_its_parts(here):
    page = here("GET", "")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    for name in ("app.js", "draw.js", "job.js", "knobs.js", "app.css", "icon.svg"):
        assert here("GET", name).status_code == 200
    # nothing is written into the markup, and nothing is fetched from elsewhere
    assert "style=" not in page.text
    for name in ("", "app.js", "draw.js", "job.js", "knobs.js", "app.css"):
        assert "https://" not in here("GET", name).text


@pytest.mark.parametrize("path", ["", "api/about", "nonsense", "api/jobs/none/files/result"])
def test_headers_go_with_every_answer(here, path):
    answers = [here("GET", path), here.client.get("/wrong/"), here("POST", path), here("PATCH", path)]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
    policy = dict(part.strip().split(" ", 1) for part in HEADERS["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert all(value in ("'self'", "'none'") for value in policy.values())


@pytest.mark.parametrize(
    "path", ["/", "/api/about", "/wrong/api/about", f"/{TOKEN}x/", f"/{TOKEN[:-1]}/", "//", "/%00/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_without_the_token(here, method, path):
    assert here.client.request(method, path).status_code == 403


def test_a_ticket_works_once(here):
    ticket = here.service.tickets.issue()
    first = here.client.get(f"/open/{ticket}")
    assert (first.status_code, first.headers["location"]) == (303, f"/{TOKEN}/")
    assert here.client.get(f"/open/{ticket}").status_code == 403
    assert here.client.get("/open/").status_code == 403


HOSTS = [
    "evil.example",
    "127.0.0.1.evil.example",
    "evil.example:8123",
    "localhost.",
    "user@127.0.0.1",
    "[::1",
    "10.0.0.1",
]


@pytest.mark.parametrize("host", [*HOSTS, "", "127.0.0.1:x", "127.0.0.1:99999", "127.0.0.1/x"])
def test_a_foreign_host(here, host):
    for method in ("GET", "POST"):
        assert here(method, "api/slots", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost:8123", "localhost", "LOCALHOST:1"])
def test_a_host_of_this_machine(here, host):
    assert here("GET", "api/about", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", OTHER, "https://127.0.0.1:8123", "http://127.0.0.1"])
def test_a_foreign_origin(here, origin):
    for method in ("GET", "POST"):
        assert here(method, "api/slots", headers={"Origin": origin}).status_code == 403
    assert not here.service.uploads.slots


def test_the_own_origin(here):
    assert here("POST", "api/slots", headers={"Origin": HERE}).status_code == 201


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ""),
        ("PATCH", ""),
        ("DELETE", "api/jobs"),
        ("GET", "api/jobs/x/stop"),
        ("PUT", "api/about"),
        ("TRACE", ""),
    ],
)
def test_methods(here, method, path):
    assert here(method, path).status_code == 405


TRICKS = [
    "../app.css",
    "..%2fapp.css",
    "%2e%2e/%2e%2e/etc/passwd",
    "static/../../server.py",
    "api/jobs/..%2f..%2fuploads/files/yaml",
    "api/jobs/../files/result",
    "api/slots/..",
    "api/slots/%2e%2e%2fjobs",
    "app.js/..%5c..%5cserver.py",
    "/etc/passwd",
]


@pytest.mark.parametrize("path", TRICKS)
def test_paths_lead_nowhere(here, path):
    for method in ("GET", "DELETE"):
        answer = here(method, path)
        assert answer.status_code in (403, 404, 405)
        assert "root:" not in answer.text


def test_files_of_a_job_are_named_not_found(here, stub):
    name = here.start()
    here.until(name, "done")
    for which in ("../log", "log", "views", "..%2f..%2flog", "result.json", "content", "/etc/passwd"):
        assert here("GET", f"api/jobs/{name}/files/{which}").status_code == 404
        assert here("GET", f"api/jobs/{name}/view/{which}.png").status_code == 404
    assert here("GET", f"api/jobs/{name}/files/result").content == b"result"


def test_an_upload_is_looked_at(here):
    answer = here.upload(picture(1), "cat.png").json()
    assert answer["kind"] == "image"
    assert answer["words"] == "image, 40 x 32, 3 channels"
    at = f"api/slots/{answer['slot']}"
    facts = here("GET", f"{at}/view.json").json()
    assert (facts["form"], facts["width"], facts["height"]) == ("picture", 40, 32)
    view = here("GET", f"{at}/view.png")
    assert view.headers["content-type"] == "image/png"
    assert view.content.startswith(b"\x89PNG")
    assert here("DELETE", at).status_code == 204
    assert here("GET", at).status_code == 404
    assert list((here.folder / "uploads").iterdir()) == []


HOSTILE = {
    "<script>alert(1)</script>": None,  # has a folder in it
    "<img src=x onerror=alert(1)>.png": "_img src=x onerror=alert(1)_.png",
    "../../etc/passwd": None,
    "..\\..\\boot.ini": None,
    "/etc/passwd": None,
    "..": None,
    "": None,
    " ": None,
    "a\0b.png": None,
    "a\nb.png": "a_b.png",
    "‮gnp.exe": "_gnp.exe",
    ".bashrc": "bashrc",
    "...png": "png",
    "写真 1.PNG": "写真 1.PNG",
    '"quoted".png': "_quoted_.png",
    "; rm -rf $HOME `id`.png": "_ rm -rf _HOME _id_.png",
    "x" * 300 + ".nii.gz": "x" * 113 + ".nii.gz",
    "é" * 200 + ".png": "é" * 58 + ".png",
}


@pytest.mark.parametrize(("given", "kept"), HOSTILE.items())
def test_hostile_names(here, given, kept):
    answer = here.upload(picture(1), given)
    slot = next(iter(here.service.uploads.slots.values()))
    if kept is None:
        assert answer.status_code == 400
        assert "no name of a file" in answer.json()["error"]
        assert list(slot.folder.iterdir()) == []
    else:
        assert [file["name"] for file in answer.json()["files"]] == [kept]
        assert [file.name for file in slot.folder.iterdir() if file.is_file()] == [kept]
    everything = {path for path in here.folder.rglob("*") if path.is_file()}
    assert all(path.parent == slot.folder for path in everything)


@pytest.mark.parametrize("said", [True, False], ids=["said", "chunked"])
def test_too_large(tmp_path, said):
    here = service_in(tmp_path, most=1000)
    data = b"x" * 1001

    def pieces():
        for start in range(0, len(data), 100):
            yield data[start : start + 100]

    answer = here.upload(data if said else pieces(), "a.png")
    assert answer.status_code == 413
    assert "that are allowed" in answer.json()["error"]
    assert [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()] == []
    assert here.upload(b"x" * 1000, "a.png").status_code == 200


def test_the_promised_length_is_checked(here):
    for said, count in ((10, 9), (8, 9)):
        answer = here.upload(iter([b"x" * count]), "a.png", headers={"Content-Length": str(said)})
        assert answer.status_code == 400
        assert f"{count} bytes came where Content-Length promised {said}" in answer.json()["error"]
    for said in ("-1", "1e3", "9" * 30, "0x10", "²"):
        answer = here.upload(b"xx", "a.png", headers={"Content-Length": said.encode()})
        assert answer.status_code == 400
    assert [path for path in (here.folder / "uploads").rglob("*") if path.is_file()] == []


def test_more_than_the_disk_has(here, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**30, 2**30, 0))
    answer = here.upload(b"x", "a.png")
    assert answer.status_code == 507
    assert "no room" in answer.json()["error"]


def test_what_is_no_signal(here):
    empty = here.upload(b"", "a.png")
    assert (empty.status_code, empty.json()["error"]) == (400, "a.png is empty")
    broken = here.upload(picture(1)[:60], "a.png").json()
    assert broken["kind"] is None
    assert broken["error"].startswith("a.png: ")
    assert str(here.folder) not in broken["error"]
    dicom = here.upload(b"\0" * 128 + b"DICM" + b"\0" * 100, "scan").json()
    assert "DICOM is not taken here" in dicom["error"]
    assert here.upload(b"x", "scan.dcm").status_code == 400


def test_files_that_do_not_say_their_rate(here):
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(0).normal(size=(2, 500)).astype(np.float32))
    slot = here.upload(stream.getvalue(), "ecg.npy").json()
    assert slot["kind"] is None
    looked = here("POST", f"api/slots/{slot['slot']}/look", json={"kind": "ecg", "rate": 100}).json()
    assert looked["words"] == "ecg, 500 at 100 Hz, 2 channels"
    for wrong in ({"kind": "nonsense"}, {"rate": -1}, {"rate": "x"}, {"rate": True}):
        assert here("POST", f"api/slots/{slot['slot']}/look", json=wrong).status_code == 400


def test_a_slot_holds_what_belongs_together(here):
    slot = here("POST", "api/slots").json()["slot"]
    for number in range(4):
        assert here("PUT", f"api/slots/{slot}?name=a{number}.dat", content=b"x").status_code == 200
    assert here("PUT", f"api/slots/{slot}?name=a4.dat", content=b"x").status_code == 409
    assert here("PUT", f"api/slots/{slot}?name=a3.dat", content=b"xy").json()["files"][3]["bytes"] == 2


def test_old_slots_make_room(here):
    slots = [here("POST", "api/slots").json()["slot"] for _ in range(18)]
    assert list(here.service.uploads.slots) == slots[2:]
    assert len(list((here.folder / "uploads").iterdir())) == 16


WRONG = [
    {"preset": "nonsense"},
    {"preset": ["image"]},
    {"content": "none"},
    {"content": None},
    {"content": "../../x"},
    {"output": "/etc/passwd"},
    {"settings": {"init": "/etc/passwd"}},
    {"settings": {"extractor": "module"}},
    {"settings": {"output": "x"}},
    {"settings": {"style_weight": "x"}},
    {"settings": {"style_weight": -1}},
    {"settings": {"style_weight": True}},
    {"settings": {"iterations": 1e9}},
    {"settings": {"iterations": [1]}},
    {"settings": []},
    {"preset": "ct"},
]


@pytest.mark.parametrize("changed", WRONG, ids=json.dumps)
def test_wrong_jobs(here, changed):
    content, style = here.pair()
    wanted = {"content": content, "style": style, "preset": "image", "settings": {}}
    answer = here("POST", "api/jobs", json={**wanted, **changed})
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]
    assert str(here.folder) not in answer.text
    assert not here.service.jobs.jobs
    assert not list((here.folder / "jobs").iterdir())


def test_wrong_requests(here):
    assert here("POST", "api/jobs", content=b"{}").status_code == 415
    sent = {"Content-Type": "application/json"}
    for body, status in ((b"{", 400), (b"[]", 400), (b"[" * 50_000, 400), (b'"' + b"x" * 70_000, 413)):
        assert here("POST", "api/jobs", content=body, headers=sent).status_code == status


def test_many_at_once(here):
    """Uploads from several threads do not get into each other's way."""
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(here.upload(picture(n), f"{n}.png").json())) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slot["files"][0]["name"] for slot in found) == [f"{n}.png" for n in range(8)]
    assert all(slot["kind"] == "image" for slot in found)


def wide_png(side=6000):
    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (side, side)).save(stream, format="PNG")
    return stream.getvalue()


def test_what_takes_too_much_memory_ends_a_process_of_its_own(here, monkeypatch):
    monkeypatch.setattr(looking, "SHARE", 0.0)
    monkeypatch.setattr(looking, "LEAST", 16 * 2**20)
    slot = here.upload(wide_png(), "wide.png").json()
    assert slot["words"] == "image, 6000 x 6000, 1 channel"
    answer = here("GET", f"api/slots/{slot['slot']}/view.png")
    assert answer.status_code == 409
    assert "memory" in answer.json()["error"]
    assert here("GET", f"api/slots/{here.pair()[0]}/view.png").status_code == 200


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ("os.kill(os.getpid(), 11)", "ended with status -11"),
        ("time.sleep(60)", "takes more than 1 s"),
        ("0", "status 0"),
    ],
)
def test_a_decoder_that_dies_or_never_ends(here, monkeypatch, tmp_path, ends, said):
    (tmp_path / "dying_looker.py").write_text(f"import os, time\n{ends}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(looking, "LOOKER", "dying_looker")
    monkeypatch.setattr(looking, "PATIENCE", 1 if "sleep" in ends else 120)
    slot = here.upload(picture(1), "a.png").json()
    assert slot["kind"] is None
    assert said in slot["error"]
