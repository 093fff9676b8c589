"""Writes tables as an OpenDocument spreadsheet. No wheel of a library that does is published."""

import datetime
import numbers
import zipfile
from xml.sax.saxutils import escape, quoteattr

MIME = "application/vnd.oasis.opendocument.spreadsheet"
NAMES = "urn:oasis:names:tc:opendocument:xmlns:"
MANIFEST = f"""<?xml version="1.0" encoding="UTF-8"?>
<manifest:manifest xmlns:manifest="{NAMES}manifest:1.0" manifest:version="1.2">
<manifest:file-entry manifest:full-path="/" manifest:media-type="{MIME}"/>
<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>
</manifest:manifest>
"""
HEAD = f"""<?xml version="1.0" encoding="UTF-8"?>
<office:document-content xmlns:office="{NAMES}office:1.0" xmlns:table="{NAMES}table:1.0"
 xmlns:text="{NAMES}text:1.0" office:version="1.2"><office:body><office:spreadsheet>"""
TAIL = "</office:spreadsheet></office:body></office:document-content>"


def legal(text):
    """Without the characters that XML has no way to say."""
    return "".join(
        c
        for c in text
        if c in "\t\n" or " " <= c <= "\ud7ff" or "\ue000" <= c and c not in "\ufffe\uffff"
    )


def cell(value):
    if value is None or value != value:  # NaN, NaT
        return "<table:table-cell/>"
    if isinstance(value, bool) or type(value).__name__ == "bool":
        kind, shown = (
            f'boolean" office:boolean-value="{str(bool(value)).lower()}',
            str(bool(value)).upper(),
        )
    elif isinstance(value, numbers.Real) and value - value == 0:
        number = int(value) if value == int(value) else float(value)
        kind, shown = f'float" office:value="{number}', str(value)
    elif isinstance(value, (datetime.date, datetime.datetime)):
        kind, shown = f'date" office:date-value="{value.isoformat()}', value.isoformat()
    else:
        kind, shown = "string", str(value)
    text = "</text:p><text:p>".join(escape(legal(line)) for line in shown.split("\n"))
    return (
        f'<table:table-cell office:value-type="{kind}"><text:p>{text}</text:p></table:table-cell>'
    )


def row(values):
    return "<table:table-row>" + "".join(map(cell, values)) + "</table:table-row>"


def write(tables, path):
    """{sheet: DataFrame}, the index left out."""
    import pandas as pd

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "mimetype", MIME, zipfile.ZIP_STORED
        )  # first and as it is: what file(1) looks for
        archive.writestr("META-INF/manifest.xml", MANIFEST)
        with archive.open("content.xml", "w", force_zip64=True) as content:
            content.write(HEAD.encode())
            for name, frame in tables.items():
                content.write(f"<table:table table:name={quoteattr(legal(name))}>".encode())
                content.write(row(map(str, frame.columns)).encode())
                for values in frame.itertuples(index=False, name=None):
                    content.write(
                        row(None if value is pd.NA else value for value in values).encode()
                    )
                content.write(b"</table:table>")
            content.write(TAIL.encode())
