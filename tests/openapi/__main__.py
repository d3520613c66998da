"""Writes both OpenAPI documents to `var/openapi`, and checks them against the specification: `make check`."""

import json
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.support.databases import ROOT

from .documents import write

FOLDER = ROOT / "var" / "openapi"


def main() -> int:
    """How many faults there are."""
    faults = 0
    for path in write(FOLDER).values():
        document = json.loads(path.read_text(encoding="utf-8"))
        for error in OpenAPIV31SpecValidator(document).iter_errors():
            faults += 1
            print(f"{path.relative_to(ROOT)}: {'/'.join(map(str, error.absolute_path))}: {error.message}")
    return faults


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
