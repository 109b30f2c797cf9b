"""In place of the process that does a job: steps that take no time, or wait to be stopped, as the YAML says."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml

config = Path(sys.argv[1])
values = yaml.safe_load(config.read_text())
stopped = []


def stop(*_):
    if stopped:  # as in `cli/process.py`: at once
        os._exit(130)
    stopped.append(1)


signal.signal(signal.SIGINT, stop)
# libraries print what they like
print("Intel MKL WARNING: no JSON", flush=True)
print("[1]", flush=True)


def tell(**said):
    print(json.dumps(said), flush=True)


def write(status):
    output = config.with_suffix("") / values["output"]
    output.parent.mkdir()
    output.write_bytes(b"result")
    output.with_name(f"{output.name}.json").write_text("{}")
    tell(ended={"output": output.name, "status": status, "seconds": 1.0, "metrics": {}, "warnings": [], "notes": []})


if values["iterations"] == 13:
    print("Traceback: it broke", file=sys.stderr)
    sys.exit(9)
if values["iterations"] == 14:
    tell(error="the style is constant", status=3)
    sys.exit(3)
for iteration in range(values["iterations"]):
    where = {"iteration": iteration + 1, "total": values["iterations"], "scale": 1, "scales": 1, "size": [4, 4]}
    tell(step={**where, "seconds": 0.1, "loss": 1.0 / (iteration + 1)})
    while values["iterations"] >= 100 and not stopped:
        time.sleep(0.01)
    if stopped:
        time.sleep(0.5 if values["iterations"] == 101 else 0.0)  # a long step
        break
write("interrupted" if stopped else "done")
