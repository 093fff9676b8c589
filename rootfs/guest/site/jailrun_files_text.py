"""Finds out how text is written: encoding, delimiter, decimal mark. For jailrun_files_read."""

import csv
import re

SAMPLE = 1 << 16  # bytes looked at


def encodings(head):
    """In which order to try: what a byte order mark says; UTF-16 without one by its many zeros;
    then UTF-8, Windows' Western one, and Latin-1, which takes anything."""
    for mark, name in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe\0\0", "utf-32"),
        (b"\0\0\xfe\xff", "utf-32"),
    ):
        if head.startswith(mark):
            return [name]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ["utf-16"]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > len(head) / 8 and not even:
        return ["utf-16-le", "utf-8"]
    if even > len(head) / 8 and not odd:
        return ["utf-16-be", "utf-8"]
    return ["utf-8", "cp1252", "latin-1"]


def delimiter_of(sample, preferred):
    """The delimiter that cuts the first lines into the same number of fields, at least two."""
    lines = sample.splitlines()[:200]
    if len(sample) >= SAMPLE // 4 and len(lines) > 1:
        lines = lines[:-1]  # cut off
    lines = [line for line in lines if line.strip()]
    best, most = preferred, 0.0
    for delimiter in dict.fromkeys((preferred, ",", ";", "\t", "|")):
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            continue
        if not widths or widths[0] < 2:
            continue
        steady = sum(width == widths[0] for width in widths) / len(widths)
        score = steady * (1 + min(widths[0], 50) / 100)
        if score > most:
            best, most = delimiter, score
    return best


def decimal_of(sample, delimiter):
    """Options for numbers such as 1.234,5, where the delimiter leaves room for a comma in them and
    none has a decimal point."""
    if delimiter == ",":
        return {}
    rows = csv.reader(sample.splitlines()[1:200], delimiter=delimiter)
    try:
        fields = [field.strip() for row in rows for field in row]
    except csv.Error:
        return {}
    comma = [f for f in fields if re.fullmatch(r"[-+]?(\d+|\d{1,3}(\.\d{3})+),\d+", f)]
    point = [f for f in fields if re.fullmatch(r"[-+]?\d+\.\d+", f)]
    if not comma or point:
        return {}
    return {"decimal": ",", **({"thousands": "."} if any("." in f for f in comma) else {})}


def decode_some(head, tries):
    for encoding in tries:
        try:
            return head[: len(head) // 4 * 4].decode(encoding, "strict")
        except UnicodeDecodeError as error:
            if error.start > len(head) - 8:  # cut in the middle of a character
                return head[: error.start].decode(encoding)
    return head.decode("latin-1")
