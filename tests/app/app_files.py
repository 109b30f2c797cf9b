"""What tests of the app share: a service in a folder, a client that has its address, pictures to upload."""

import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from nst_nd.app.guard import Tickets
from nst_nd.app.jobs import Jobs
from nst_nd.app.server import Service, application
from nst_nd.app.uploads import Uploads

TOKEN = "token-of-these-tests"
HERE = "http://127.0.0.1:8123"
OTHER = "http://localhost:8123"


@dataclass
class Here:
    """A service and a client of it."""

    service: Service
    client: TestClient
    folder: Path

    def __call__(self, method, path, **more):
        return self.client.request(method, f"/{TOKEN}/{path}", **more)

    def upload(self, data, name, **more):
        """A fresh slot with this file; the answer."""
        slot = self("POST", "api/slots").json()["slot"]
        return self("PUT", f"api/slots/{slot}", params={"name": name}, content=data, **more)

    def pair(self):
        """Slots of a content and a style."""
        return [self.upload(picture(seed), name).json()["slot"] for seed, name in ((1, "c.png"), (2, "s.png"))]

    def start(self, iterations=2, **settings):
        content, style = self.pair()
        wanted = {"content": content, "style": style, "preset": "image"}
        answer = self("POST", "api/jobs", json={**wanted, "settings": {"iterations": iterations, **settings}})
        assert answer.status_code == 201, answer.text
        return answer.json()["name"]

    def job(self, name):
        return next(job for job in self("GET", "api/jobs").json()["jobs"] if job["name"] == name)

    def until_a_step(self, name, seconds=60):
        end = time.monotonic() + seconds
        while not self.job(name)["step"]:
            assert time.monotonic() < end, self.job(name)
            time.sleep(0.02)

    def until(self, name, *states, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            job = self.job(name)
            if job["state"] in states:
                return job
            time.sleep(0.05)
        raise AssertionError(f"still {job['state']}: {job}")


def service_in(folder, most=2**20, at_once=1):
    jobs = Jobs(folder / "jobs", folder / "kept", at_once)
    service = Service(Uploads(folder / "uploads", most), jobs, TOKEN, Tickets())
    return Here(service, TestClient(application(service), base_url=HERE, follow_redirects=False), folder)


def picture(seed, height=32, width=40):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, format="PNG")
    return stream.getvalue()
