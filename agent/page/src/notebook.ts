// A session as a Jupyter notebook (nbformat 4.5).
import { saveBlob } from "./api";
import type { Piece, Step } from "./types";

function outputOf(piece: Piece): object | null {
  if (piece.kind === "stdout" || piece.kind === "stderr")
    return { output_type: "stream", name: piece.kind, text: piece.text };
  const data: Record<string, unknown> = {};
  if (piece.kind === "text") data["text/plain"] = piece.text;
  else if (piece.kind === "markdown") data["text/markdown"] = piece.text;
  else if (piece.kind === "frame")
    data[piece.name === "drawing" ? "image/svg+xml" : "text/html"] = piece.html;
  else if (piece.kind === "image" && piece.url.startsWith("data:"))
    data[piece.url.slice(5, piece.url.indexOf(";"))] = piece.url.slice(piece.url.indexOf(",") + 1);
  else if (piece.kind === "table")
    data["text/plain"] = [piece.table.columns, ...piece.table.rows]
      .map((row) => row.join("\t"))
      .join("\n");
  else return null;
  return { output_type: "display_data", data, metadata: {} };
}

export function notebookOf(steps: Step[]): object {
  const cells = steps.map((step, i) => ({
    cell_type: "code",
    id: `cell-${i + 1}`,
    execution_count: i + 1,
    metadata: {},
    source: step.code,
    outputs: [
      ...step.pieces.map(outputOf).filter((output) => output !== null),
      ...(step.failure
        ? [
            {
              output_type: "error",
              ename: step.failure.verdict ?? "Error",
              evalue: step.failure.detail,
              traceback: (step.failure.trace ?? "").split("\n"),
            },
          ]
        : []),
    ],
  }));
  const metadata = {
    kernelspec: { name: "python3", display_name: "Python 3", language: "python" },
    language_info: { name: "python" },
  };
  return { nbformat: 4, nbformat_minor: 5, metadata, cells };
}

export function saveNotebook(name: string, steps: Step[]): void {
  const text = JSON.stringify(notebookOf(steps), null, 1);
  saveBlob(
    new Blob([text], { type: "application/x-ipynb+json" }),
    `${name.toLowerCase().replaceAll(/\W+/g, "-")}.ipynb`,
  );
}
