"""Which jobs a filter means: the words that the picker's text box and `JobPicker.select` both take.

A filter is a list of words, all of which must match. A bare word matches any part of a job's id, label or status. A
word after ``id:``, ``label:`` or ``status:`` looks there alone. Commas say "or", quotes keep blanks together, case is
ignored::

    failed acme                  status:failed,cancelled label:"acme gmbh"

A whole status word means that status alone; a part of one means every status that contains it, so that ``status:comp``
already matches while it is typed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mops_analysis import schema

_KEYS = ("id", "label", "status")
_WORD = re.compile(r'(?:(id|label|status):)?(?:"([^"]*)"?|(\S+))', re.IGNORECASE)


def words(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return the words of a filter: the key ("" for a bare word) and the alternatives, lower-cased.

    Examples
    --------
    >>> words('Acme status:failed,cancelled label:"acme gmbh"')
    [('', ('acme',)), ('status', ('failed', 'cancelled')), ('label', ('acme gmbh',))]
    """
    found = []
    for key, quoted, plain in _WORD.findall(text):
        if not key and plain.lower().removesuffix(":") in _KEYS and plain.endswith(":"):
            continue  # a key whose value is still to be typed
        alternatives = (quoted,) if quoted else tuple(filter(None, plain.split(","))) if key else (plain,)
        if any(alternatives):
            found.append((key.lower(), tuple(each.lower() for each in alternatives)))
    return found


def toggled(text: str, status: str) -> str:
    """Return the filter with one status added to its ``status:`` word, or taken out where it is there.

    Examples
    --------
    >>> toggled("acme status:failed", "cancelled")
    'acme status:failed,cancelled'
    >>> toggled("acme status:failed", "failed")
    'acme'
    """
    kept, statuses = [], []
    for match in _WORD.finditer(text):
        if (match[1] or "").lower() == "status":
            statuses += [each for each in (match[2] or match[3] or "").lower().split(",") if each]
        else:
            kept.append(match[0])
    statuses = [each for each in statuses if each != status] if status in statuses else [*statuses, status]
    return " ".join([*kept, *(["status:" + ",".join(statuses)] if statuses else [])])


def statuses_of(text: str) -> set[str]:
    """Return the statuses that the filter's ``status:`` words name.

    Examples
    --------
    >>> sorted(statuses_of("acme status:failed,cancelled"))
    ['cancelled', 'failed']
    """
    return {each for key, alternatives in words(text) if key == "status" for each in alternatives}


def matches(text: str, *, ids: Sequence[str], labels: Sequence[str], statuses: Sequence[str]) -> list[int]:
    """Return the positions of the jobs that a filter means, in order; an empty filter means all.

    Parameters
    ----------
    text
        The filter.
    ids, labels, statuses
        Of each job, lower-cased.

    Examples
    --------
    >>> matches("failed", ids=["job-1", "job-2"], labels=["acme", ""], statuses=["failed", "pending"])
    [0]
    """
    columns = {"id": ids, "label": labels, "status": statuses}
    left = list(range(len(ids)))
    for key, alternatives in words(text):
        if key == "status":
            meant = _meant_statuses(alternatives, set(statuses))
            left = [job for job in left if statuses[job] in meant]
        elif key:
            left = [job for job in left if any(word in columns[key][job] for word in alternatives)]
        else:
            word = alternatives[0]
            left = [job for job in left if word in ids[job] or word in labels[job] or word in statuses[job]]
    return left


def _meant_statuses(alternatives: Sequence[str], seen: set[str]) -> set[str]:
    whole = seen.union(schema.STATUSES)
    return {
        status for status in seen for word in alternatives if status == word or (word not in whole and word in status)
    }
