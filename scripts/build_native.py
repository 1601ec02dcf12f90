"""``make setup`` runs this: it compiles ``arbshard/_native.c`` beside its source.

Without a compiler, or without Python's headers, arbshard works too, and each message costs more CPU. So the exit code
is 0 then as well, and one line says what is missing. The argument is the file that is touched when it has been built:
without it, the next ``make setup`` tries again.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from zlib import crc32

SOURCE = Path(__file__).resolve().parent.parent / "arbshard" / "_native.c"
_TIMEOUT_S = 120.0


def target() -> Path:
    """Return the path of the compiled file, which names the interpreter that it is for."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert isinstance(suffix, str), suffix
    return SOURCE.with_suffix(suffix)


def command(output: Path) -> list[str]:
    """Return the command that compiles."""
    compiler = os.environ.get("CC")
    if not compiler:  # the interpreter may have been built on another machine, with another compiler
        built_with = sysconfig.get_config_var("CC") or "cc"
        compiler = built_with if shutil.which(shlex.split(built_with)[0]) else "cc"
    shared = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    options = ["-std=gnu11", "-O2", "-fPIC", "-D_GNU_SOURCE", f"-I{sysconfig.get_path('include')}"]
    options.append(f"-DSOURCE_CRC={crc32(SOURCE.read_bytes())}L")  # `arbshard.native` compares it
    return [*shlex.split(compiler), *options, *shared, str(SOURCE), "-o", str(output)]


def main(arguments: Sequence[str]) -> int:
    """Build the twin; return the exit code. The one argument is the file to touch when it has been built."""
    path = target()
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        done = subprocess.run(
            command(unfinished), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        why = done.stderr.strip().splitlines()[0] if done.returncode and done.stderr.strip() else ""
        if done.returncode == 0:
            unfinished.replace(path)
            Path(arguments[0]).touch()
            return 0
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    with suppress(
        OSError
    ):  # where nothing may be written, `arbshard.native` refuses an older one by its checksum
        unfinished.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    print(f"the hot path is not compiled, so a message costs more CPU: {why or 'the compiler failed'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
