"""Helpers for genomes and proteins. Every figure is computed from the data given, never drawn.

    genomic.setup({"sequences": {"p1": "MKV…", "p2": "MKL…"}})    # or files: /data/*.faa, *.db
    genomic.similarities(["p1", "p2"])          protein_similarity_heatmap.png
    genomic.neighborhood(genes)                 genomic_neighborhood.png
    genomic.composition(), genomic.hydrophobicity(), genomic.statistics([0.8, 0.7])

Sequences are a dict of name to text, names of what setup() or fetch() knows, or a path.
"""

import glob
import os
import re
import statistics as _statistics

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
# Hydropathy of Kyte and Doolittle, J. Mol. Biol. 157 (1982), table 2.
HYDROPATHY = dict(zip("ARNDCQEGHILKMFPSTWYV", (
    1.8, -4.5, -3.5, -3.5, 2.5, -3.5, -3.5, -0.4, -3.2, 4.5,
    3.8, -3.9, 1.9, 2.8, -1.6, -0.8, -0.7, -0.9, -1.3, 4.2,
)))  # fmt: skip
data = {}  # what setup() was given


def setup(given=None):
    """Takes what is to be worked on: "sequences" {name: text}, "genes", anything else by name."""
    data.clear()
    data.update(given or {})
    print("Genomic analysis environment ready!")
    for name, value in data.items():
        size = f" ({len(value)} items)" if hasattr(value, "__len__") else ""
        print(f"  {name}: {type(value).__name__}{size}")
    return data


# --- sequences ------------------------------------------------------------------------------------


def read(path):
    """{name: sequence} of a FASTA file, or of an SQLite database with such a table."""
    with open(path, "rb") as file:
        if file.read(16) == b"SQLite format 3\0":
            return _read_database(path)
    from Bio import SeqIO

    with open(path) as file:
        return {one.id: str(one.seq) for one in SeqIO.parse(file, "fasta")}


def _read_database(path):
    import contextlib
    import sqlite3

    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as database:
        tables = [row[0] for row in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            quoted = '"' + table.replace('"', '""') + '"'
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({quoted})")]
            text = next((c for c in columns if re.search("seq", c, re.I)
                         and not re.search("id|len|name", c, re.I)), None)
            name = next((c for c in columns if re.search("id$|name|accession", c, re.I)), None)
            if text and name:
                return dict(database.execute(f'SELECT "{name}", "{text}" FROM {quoted}'))
    raise ValueError(f"{path} has no table with a column of names and one of sequences; "
                     f"its tables: {', '.join(tables) or 'none'}")


def _all():
    if data.get("sequences"):
        return dict(data["sequences"])
    found = {}
    for folder in ("/data", "/work"):
        for suffix in ("faa", "fasta", "fa", "fna", "db", "sqlite"):
            for path in sorted(glob.glob(f"{folder}/*.{suffix}")):
                found.update(read(path))
    if not found:
        raise ValueError("no sequences: give a dict of name to text, call "
                         "setup({'sequences': …}), or give a FASTA file as input")
    return found


def fetch(names=None, source=None):
    """{name: sequence} of these names, all by default, from setup(), `source` or the input files."""
    if isinstance(names, dict):
        return {str(name): str(text).upper() for name, text in names.items()}
    known = read(source) if isinstance(source, (str, os.PathLike)) else source or _all()
    if names is None:
        return {name: str(text).upper() for name, text in known.items()}
    names = [names] if isinstance(names, str) else list(names)
    missing = [name for name in names if name not in known]
    if missing:
        raise KeyError(f"no sequence of {', '.join(map(repr, missing[:5]))}; "
                       f"there are: {', '.join(list(known)[:10])}")
    return {name: str(known[name]).upper() for name in names}


# --- proteins -------------------------------------------------------------------------------------


def _identity(one, other, aligner):
    """Share of equal positions of the best global alignment, by its length."""
    if not one or not other:
        return 0.0
    aligned = aligner.align(one, other)[0]
    counts = aligned.counts()
    return counts.identities / aligned.length


def similarities(proteins=None, matrix=None, path="protein_similarity_heatmap.png"):
    """Pairwise similarities as a DataFrame: of a matrix, if one is given, else computed.

    Writes a heat map.
    """
    import numpy
    import pandas

    if matrix is not None:
        table = pandas.DataFrame(numpy.asarray(matrix, dtype=float))
        names = list(proteins) if proteins is not None else list(range(len(table)))
        table.index = table.columns = names
    else:
        from Bio.Align import PairwiseAligner

        aligner = PairwiseAligner(mode="global", match_score=2, mismatch_score=-1)
        aligner.open_gap_score, aligner.extend_gap_score = -2, -0.5
        sequences = fetch(proteins)
        names = list(sequences)
        table = pandas.DataFrame(numpy.eye(len(names)), names, names)
        for i, one in enumerate(names):
            for j in range(i):
                same = _identity(sequences[one], sequences[names[j]], aligner)
                table.iloc[i, j] = table.iloc[j, i] = same
    pairs = [(float(table.iloc[i, j]), names[i], names[j])
             for i in range(len(names)) for j in range(i)]
    _heat_map(table, path)
    print(f"Proteins: {len(names)}")
    if pairs:
        best = max(pairs, key=lambda pair: pair[0])
        print(f"Mean similarity: {sum(pair[0] for pair in pairs) / len(pairs):.3f}")
        print(f"Most similar: {best[2]} and {best[1]} ({best[0]:.3f})")
    print(f"Plot saved: {path}")
    return table


def _heat_map(table, path):
    from matplotlib import pyplot

    side = min(max(4.0, 0.5 * len(table)), 20.0)
    figure, axes = pyplot.subplots(figsize=(side + 1, side))
    image = axes.imshow(table.to_numpy(), vmin=0, vmax=1, cmap="viridis")
    axes.set_xticks(range(len(table)), [str(name) for name in table.columns], rotation=90)
    axes.set_yticks(range(len(table)), [str(name) for name in table.index])
    axes.set_title("Protein similarity")
    figure.colorbar(image, label="similarity")
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)


def composition(sequences=None):
    """Amino acids of each sequence, as shares of its length: a DataFrame."""
    import pandas

    sequences = fetch(sequences)
    rows = {name: [text.count(letter) / max(len(text), 1) for letter in AMINO_ACIDS]
            for name, text in sequences.items()}
    table = pandas.DataFrame.from_dict(rows, orient="index", columns=list(AMINO_ACIDS))
    table.insert(0, "length", [len(text) for text in sequences.values()])
    for name, row in table.iterrows():
        most = row[1:].astype(float).nlargest(3)
        shares = ", ".join(f"{letter} {share:.1%}" for letter, share in most.items())
        print(f"{name}: {row['length']:.0f} amino acids, most: {shares}")
    return table


def hydrophobicity(sequences=None):
    """Mean hydropathy (Kyte and Doolittle) of each sequence: a Series, most hydrophobic first."""
    import pandas

    means = {}
    for name, text in fetch(sequences).items():
        values = [HYDROPATHY[letter] for letter in text if letter in HYDROPATHY]
        means[name] = sum(values) / len(values) if values else float("nan")
    series = pandas.Series(means, name="hydropathy", dtype=float).sort_values(ascending=False)
    for name, value in series.items():
        kind = "hydrophobic" if value > 0 else "hydrophilic"
        print(f"{name}: {value:.3f}" + (f" ({kind})" if value == value else " (no amino acids)"))
    return series


def statistics(values, name="values"):
    """Count, mean, median, standard deviation (of a sample), least and most; NaN is left out."""
    values = [float(value) for value in values]
    numbers = [value for value in values if value == value]
    if not numbers:
        raise ValueError(f"{name}: no numbers to compute of")
    told = {
        "count": len(numbers),
        "mean": _statistics.fmean(numbers),
        "median": _statistics.median(numbers),
        "std": _statistics.stdev(numbers) if len(numbers) > 1 else 0.0,
        "min": min(numbers),
        "max": max(numbers),
    }
    print(f"Count: {told['count']}")
    for key in ("mean", "median", "std", "min", "max"):
        print(f"{key.capitalize()}: {told[key]:.3f}")
    return told


# --- genes ----------------------------------------------------------------------------------------


def _first(gene, *keys, default=None):
    return next((gene[key] for key in keys if gene.get(key) is not None), default)


def neighborhood(genes=None, path="genomic_neighborhood.png"):
    """Draws genes as arrows along their contig: dicts (or a frame) of name, start, end, strand."""
    from matplotlib import pyplot

    genes = data.get("genes") if genes is None else genes
    if hasattr(genes, "to_dict"):
        genes = genes.to_dict("records")
    if not genes:
        raise ValueError("no genes: give a list of dicts with name, start, end, strand")
    rows = []
    for number, gene in enumerate(genes, 1):
        ends = int(_first(gene, "start", "begin")), int(_first(gene, "end", "stop"))
        forward = str(_first(gene, "strand", default="+")).lower() in ("1", "+1", "+", "forward")
        name = str(_first(gene, "name", "gene", "gene_id", "locus_tag", "id", default=number))
        rows.append((min(ends), max(ends), forward, name))
    rows.sort()
    figure, axes = pyplot.subplots(figsize=(12, 3))
    span = max(row[1] for row in rows) - rows[0][0] or 1
    for start, end, forward, name in rows:
        tail, length = (start, end - start) if forward else (end, start - end)
        axes.arrow(tail, 0, length, 0, width=0.3, head_width=0.5, length_includes_head=True,
                   head_length=min(abs(length) * 0.3, span * 0.03) or 1,
                   color="tab:blue" if forward else "tab:orange")
        axes.text((start + end) / 2, 0.45, name, ha="center", rotation=30, fontsize=8)
    axes.set_ylim(-1, 1.5)
    axes.set_yticks([])
    axes.set_xlabel("position")
    axes.set_title("Genomic neighborhood")
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)
    ahead = sum(row[2] for row in rows)
    print(f"Total genes: {len(rows)}")
    print(f"Forward strand: {ahead}")
    print(f"Reverse strand: {len(rows) - ahead}")
    print(f"Plot saved: {path}")
    return rows
