"""One target under atheris, which follows what its inputs reach: `python -m tests.fuzz.guided TARGET …`.

What follows the target's name is libFuzzer's (https://llvm.org/docs/LibFuzzer.html#options). Runs in the
environment of its own that `.ci/fuzz` makes; `python -m tests.fuzz` starts it for each target.
"""

import sys

import atheris

with atheris.instrument_imports(include=["proxy_service", "h11"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
