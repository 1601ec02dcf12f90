"""Check a commit message: ``python scripts/check_subject.py FILE``. Exit code 1 with one line when it is refused.

The subject has at most 65 characters, starts with a capital letter, ends without a full stop, and an empty line
separates it from the body. Git's own subjects (merges, reverts, fixups) are accepted.
"""

import re
import sys
from pathlib import Path

SUBJECT_MAX = 65
_GENERATED = re.compile(r"(Merge |Revert |fixup! |squash! |amend! )")


def find_fault(message: str) -> str | None:
    """Return what is wrong with ``message`` in one sentence, or None when it is accepted."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject = lines[0] if lines else ""
    if _GENERATED.match(subject):
        return None
    if not subject.strip():
        return "the first line must be the subject, and it is empty"
    if len(subject) > SUBJECT_MAX:
        return f"the subject has {len(subject)} characters, at most {SUBJECT_MAX} are allowed: {subject}"
    if not subject[0].isupper() or subject.endswith("."):
        return f"the subject starts with a capital letter and ends without a full stop: {subject}"
    if len(lines) > 1 and lines[1].strip():
        return "an empty line must separate the subject from the body"
    return None


def main(arguments: list[str]) -> int:
    """Read the file that git names and print what is wrong with it."""
    if len(arguments) != 1:
        print("usage: check_subject.py FILE", file=sys.stderr)
        return 2
    fault = find_fault(Path(arguments[0]).read_text(encoding="utf-8"))
    if fault is not None:
        print(f"commit message: {fault}", file=sys.stderr)
    return 0 if fault is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
