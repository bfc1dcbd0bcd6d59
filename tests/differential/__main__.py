"""`python -m tests.differential`: write the differences down as they are now.

Reasons that were given stay with what they explain. A new difference gets an empty one,
which whoever has judged it fills in; until then the tests fail.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping

from tests.differential.compare import (
    EXPLAINED,
    Difference,
    Explanation,
    differences,
    explanations,
)
from tests.differential.neighbours import NotInstalled
from tests.differential.observe import all_cases, observe

HEAD = """\
# Where bearerd and a neighbour (nginx, haproxy) handle the same bytes in two ways, and why.
# Edit: `why` alone, which names a reason of the first table. `python -m tests.differential` writes the rest.
# Check: make test-differential
"""


def written(reasons: Mapping[str, str], told: Iterable[Explanation]) -> str:
    """Return the file's text."""
    lines = [HEAD, "[why]"]
    lines += [f"{_quoted(name)} = {_quoted(text)}" for name, text in reasons.items()]
    last = None
    for one in told:
        it = one.difference
        if it.case != last:
            lines += ["", f"[case.{_quoted(it.case)}]"]
            last = it.case
        lines.append(
            f"{it.peer}.{it.aspect} = {{ ours = {_quoted(it.ours)}, "
            f"theirs = {_quoted(it.theirs)}, why = {_quoted(one.why)} }}"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the file; return 1 if a difference waits for its reason."""
    reasons, told = explanations()
    known = {_key(one.difference): one.why for one in told}
    try:
        found = list(differences(observe(all_cases())))
    except NotInstalled as reason:
        print(reason, file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    now = [Explanation(it, known.get(_key(it), "")) for it in found]
    EXPLAINED.write_text(written(reasons, now))
    return int(any(not one.why for one in now))


def _key(difference: Difference) -> tuple[str, str, str]:
    return difference.case, difference.peer, difference.aspect


def _quoted(text: str) -> str:
    """Return a TOML string; JSON's are among them."""
    return json.dumps(text)


if __name__ == "__main__":
    sys.exit(main())
