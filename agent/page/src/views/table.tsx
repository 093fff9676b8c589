// A table that sorts, pages and can be saved.
import { useMemo, useState } from "preact/hooks";
import { saveBlob } from "../api";
import type { Table } from "../types";

const kPage = 25;

function text(cell: unknown): string {
  if (cell === null || cell === undefined) return "";
  if (typeof cell === "object") return JSON.stringify(cell);
  return String(cell);
}

// As many decimals for each number of a column as one of them needs, up to six.
function decimalsOf(table: Table, column: number): number {
  let most = 0;
  for (const row of table.rows) {
    const value = row[column];
    if (typeof value !== "number" || Number.isInteger(value)) continue;
    if (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e15) return -1;
    most = Math.max(most, String(Number(value.toFixed(6))).split(".")[1]?.length ?? 0);
  }
  return most;
}

function shown(cell: unknown, decimals: number): string {
  return typeof cell === "number" && decimals >= 0 ? cell.toFixed(decimals) : text(cell);
}

// Empty cells last, whichever way.
function order(rows: number[], table: Table, column: number, down: boolean): number[] {
  const sign = down ? -1 : 1;
  const at = (row: number) => (column < 0 ? table.index?.[row] : table.rows[row]![column]);
  return rows.toSorted((a, b) => {
    const [x, y] = [at(a), at(b)];
    const none = Number(x === null || x === undefined) - Number(y === null || y === undefined);
    if (none !== 0) return none;
    if (typeof x === "number" && typeof y === "number") return sign * (x - y);
    return sign * text(x).localeCompare(text(y), undefined, { numeric: true });
  });
}

// A cell that a spreadsheet would take for a formula is kept text.
function csvCell(cell: unknown): string {
  let value = text(cell);
  if (typeof cell === "string" && /^[=+\-@\t\r]/.test(value)) value = `'${value}`;
  return /[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}

function saveCsv(table: Table): void {
  const lines = [table.columns, ...table.rows].map((row) => row.map(csvCell).join(","));
  saveBlob(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }), "table.csv");
}

export function TableView({ table, name = "Result" }: { table: Table; name?: string }) {
  const [sort, setSort] = useState<{ column: number; down: boolean } | null>(null);
  const [page, setPage] = useState(0);
  const rows = useMemo(() => {
    const all = table.rows.map((_, i) => i);
    return sort ? order(all, table, sort.column, sort.down) : all;
  }, [table, sort]);
  const decimals = useMemo(
    () => table.numeric.map((yes, i) => (yes ? decimalsOf(table, i) : -1)),
    [table],
  );
  const pages = Math.max(1, Math.ceil(rows.length / kPage));
  const now = Math.min(page, pages - 1);
  const part = rows.slice(now * kPage, (now + 1) * kPage);
  const click = (column: number) => {
    setSort(
      sort?.column !== column ? { column, down: false } : sort.down ? null : { column, down: true },
    );
    setPage(0);
  };
  const head = (label: string, column: number, numeric: boolean) => {
    const state = sort?.column === column ? (sort.down ? "descending" : "ascending") : "none";
    return (
      <th scope="col" class={numeric ? "num" : ""} aria-sort={state}>
        <button onClick={() => click(column)} title={`Sort by ${label || "row"}`}>
          {label || "\u00a0"}
          <span class="arrow" aria-hidden="true">
            {state === "ascending" ? "\u2191" : state === "descending" ? "\u2193" : ""}
          </span>
        </button>
      </th>
    );
  };
  const more =
    table.total > table.rows.length
      ? `the first ${table.rows.length} of ${table.total} rows`
      : `${table.total} ${table.total === 1 ? "row" : "rows"}`;
  return (
    <div class="table">
      <div class="scroll" tabIndex={0} role="region" aria-label={`${name}, ${more}`}>
        <table>
          <thead>
            <tr>
              {table.index && head("", -1, false)}
              {table.columns.map((column, i) => head(column, i, table.numeric[i]!))}
            </tr>
          </thead>
          <tbody>
            {part.map((row) => (
              <tr key={row}>
                {table.index && <th scope="row">{text(table.index[row])}</th>}
                {table.rows[row]!.map((cell, i) => (
                  <td
                    class={cell === null ? "none" : table.numeric[i] ? "num" : ""}
                    title={text(cell).length > 60 ? text(cell) : undefined}
                  >
                    {cell === null ? "–" : shown(cell, decimals[i]!)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="bar small">
        <span class="dim">
          {more}
          {table.about ? `, ${table.about}` : ""}
        </span>
        {pages > 1 && (
          <span class="pager">
            <button onClick={() => setPage(now - 1)} disabled={now === 0} aria-label="Page before">
              ‹
            </button>
            <span aria-live="polite">
              {now + 1} / {pages}
            </span>
            <button
              onClick={() => setPage(now + 1)}
              disabled={now === pages - 1}
              aria-label="Next page"
            >
              ›
            </button>
          </span>
        )}
        <button class="link right" onClick={() => saveCsv(table)}>
          Save as CSV
        </button>
      </div>
    </div>
  );
}
