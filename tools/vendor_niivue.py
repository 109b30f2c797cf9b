"""Put NiiVue's build into nst_nd/report/vendor/: this version, checked against these digests, or nothing.

    python tools/vendor_niivue.py

npm brings the package. The script inside it is stored as gzip without a time, so that the same version always gives
the same bytes. Its licence and those of what it bundles are in NOTICE.
"""

import base64
import gzip
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE, VERSION = "@niivue/niivue", "0.69.0"
# as npm publishes it, sha512 of the package
INTEGRITY = "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
SCRIPT = "package/dist/niivue.umd.js"
SCRIPT_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
TARGET = Path(__file__).parents[1] / "nst_nd" / "report" / "vendor" / "niivue.umd.js.gz"


def main() -> int:
    """Exit code 1, and nothing written, where a digest is another one."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=folder, check=True)
        (archive,) = Path(folder).glob("*.tgz")
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != INTEGRITY:
            print(f"{PACKAGE} {VERSION}: got sha512 {found}; allowed: {INTEGRITY}", file=sys.stderr)
            return 1
        with tarfile.open(archive) as package:
            member = package.extractfile(SCRIPT)
            assert member is not None, SCRIPT
            script = member.read()
    if hashlib.sha256(script).hexdigest() != SCRIPT_SHA256:
        print(f"{SCRIPT}: not the script that this repository was checked with", file=sys.stderr)
        return 1
    TARGET.write_bytes(gzip.compress(script, 9, mtime=0))
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes, {PACKAGE} {VERSION}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
