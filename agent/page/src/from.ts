// From the service's JSON to what the page holds.
import type { Failure, Piece, Run, Step, Table } from "./types";
import { verdictFailure } from "./words";

const kMostText = 400_000; // characters of one piece; more would only slow the page

export function newStep(number: number, code: string, language: Step["language"] = "python"): Step {
  return {
    id: crypto.randomUUID?.() ?? String(Math.random()),
    number,
    language,
    code,
    status: "running",
    pieces: [],
    files: [],
    usage: {},
    notes: [],
  };
}

// Terminal colours and progress bars that go back to the beginning of their line.
function plain(text: string): string {
  return text.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, "").replace(/^.*\r(?!\n)/gm, "");
}

export function addText(step: Step, kind: "stdout" | "stderr", text: string): void {
  const last = step.pieces.at(-1);
  if (!text) return;
  if (last?.kind === kind && last.text.length > kMostText) return;
  if (last?.kind === kind) last.text = plain(last.text + text);
  else step.pieces.push({ kind, text: plain(text) });
  const now = step.pieces.at(-1)!;
  if (now.kind === kind && now.text.length > kMostText)
    now.text = `${now.text.slice(0, kMostText)}\n… (more is not shown)`;
}

// By what a person sees best. Text in data[mime], base64 in binary[mime].
export function pieceOf(display: any): Piece | null {
  const piece = bestOf(display);
  if (piece && display.kind === "result") piece.isResult = true;
  return piece;
}

function bestOf(display: any): Piece | null {
  const data = display?.data ?? {};
  const binary = display?.binary ?? {};
  for (const type of ["image/png", "image/jpeg", "image/gif", "image/webp"])
    if (binary[type])
      return { kind: "image", url: `data:${type};base64,${binary[type]}`, name: "plot" };
  for (const [type, text] of Object.entries(data) as [string, string][])
    if (/^application\/vnd\.(plotly|vegalite|vega)/.test(type))
      return chartOf(type, text, data["image/png"]);
  if (data["image/svg+xml"]) return { kind: "frame", html: data["image/svg+xml"], name: "drawing" };
  if (data["text/html"]) return { kind: "frame", html: data["text/html"], name: "HTML" };
  if (data["text/markdown"]) return { kind: "markdown", text: data["text/markdown"] };
  if (data["application/json"])
    return { kind: "json", text: data["application/json"], name: "JSON" };
  if (data["text/plain"]) return { kind: "text", text: data["text/plain"] };
  return null;
}

function chartOf(type: string, text: string, png?: string): Piece {
  if (png) return { kind: "image", url: `data:image/png;base64,${png}`, name: "chart" };
  return { kind: "json", text, name: type.includes("plotly") ? "Plotly figure" : "Vega chart" };
}

const isNumber = (value: unknown) => typeof value === "number" || value === null;

function numericColumns(rows: unknown[][], count: number): boolean[] {
  return Array.from(
    { length: count },
    (_, i) =>
      rows.some((row) => typeof row[i] === "number") && rows.every((row) => isNumber(row[i])),
  );
}

// A typed value (jailrun_tables.py) that is a table, or nothing.
export function tableOfValue(value: any): Table | null {
  const held = value?.value;
  if (value?.type !== "dataframe" && value?.type !== "series") return null;
  const columns: string[] =
    value.type === "series" ? [String(held.name ?? "value")] : held.columns.map(String);
  const rows: unknown[][] =
    value.type === "series" ? held.data.map((cell: unknown) => [cell]) : held.data;
  const [total, width] = value.shape as number[];
  const about =
    width !== undefined && width > columns.length
      ? `${columns.length} of ${width} columns`
      : undefined;
  return {
    columns,
    rows,
    index: held.index,
    total,
    about,
    numeric: numericColumns(rows, columns.length),
  };
}

// {columns, rows, row_count} of a run.
export function tableOfResult(result: any): Table | undefined {
  if (!result?.columns?.length || !Array.isArray(result.rows)) return undefined;
  const rows: unknown[][] = result.rows.map((row: any) =>
    Array.isArray(row) ? row : result.columns.map((column: string) => row[column]),
  );
  const columns: string[] = result.columns.map(String);
  return {
    columns,
    rows,
    total: result.row_count ?? rows.length,
    numeric: numericColumns(rows, columns.length),
  };
}

function failureOfCell(answer: any): Failure | undefined {
  if (answer.outcome === "ended" && answer.verdict)
    return verdictFailure(answer.verdict, answer.reason ?? "", answer.evidence);
  if (answer.timed_out)
    return {
      title: "It took longer than was asked for, and was interrupted.",
      detail: "What it had computed is still there.",
      verdict: "interrupted",
    };
  if (answer.outcome === "interrupted")
    return {
      title: "It was stopped.",
      detail: "What it had computed is still there.",
      verdict: "interrupted",
    };
  const error = answer.error;
  if (!error)
    return answer.outcome === "exit"
      ? { title: "The code ended its interpreter.", detail: "Its names are gone." }
      : undefined;
  if (error.type === "CodeRefused")
    return {
      title: "The policy of this session does not allow this code.",
      detail: error.message,
      remedy: error.advice,
      verdict: "refused",
    };
  const detail = error.message ? `${error.type}: ${error.message}` : error.type;
  return {
    title: "The code ended with an error.",
    detail,
    remedy: error.advice || undefined,
    trace: error.traceback,
  };
}

// The answer of a cell, after whatever streamed before it.
export function finishCell(step: Step, answer: any, session: string): void {
  const table = tableOfValue(answer.value);
  if (table) {
    const at = step.pieces.findIndex((piece) => piece.isResult);
    step.pieces.splice(at < 0 ? step.pieces.length : at, at < 0 ? 0 : 1, { kind: "table", table });
  }
  step.failure = failureOfCell(answer);
  const stopped = answer.outcome === "interrupted" && !answer.timed_out;
  step.status = !step.failure ? "ok" : stopped ? "stopped" : "failed";
  step.usage = { wall: answer.execution_time };
  if (answer.usage?.cpu_ns) step.usage.cpu = answer.usage.cpu_ns / 1e9;
  if (answer.usage?.memory_peak_bytes) step.usage.memory = answer.usage.memory_peak_bytes;
  if (answer.usage?.pids_peak) step.usage.processes = answer.usage.pids_peak;
  step.files = (answer.files ?? []).map((file: any) => ({
    name: file.name,
    bytes: file.bytes,
    url: `/v1/sessions/${encodeURIComponent(session)}/files/${encodeURIComponent(file.name)}`,
  }));
  for (const stream of ["stdout", "stderr"])
    if (answer[`${stream}_truncated`])
      step.notes.push(`More was written to ${stream} than is kept.`);
  if (answer.displays_dropped) step.notes.push(`${answer.displays_dropped} displays were dropped.`);
  for (const warning of answer.warnings ?? []) step.notes.push(String(warning?.message ?? warning));
}

// The event `step` of a chat, and a step of a capsule.
export function finishStep(step: Step, told: any): void {
  const ok = told.verdict === "ok";
  // Without a verdict it has not been run: its turn says why.
  if (!ok && told.verdict)
    step.failure = verdictFailure(told.verdict, told.reason ?? "", told.evidence);
  step.status = ok ? "ok" : told.verdict === "cancelled" ? "stopped" : "failed";
  if (told.wall_ns) step.usage.wall = told.wall_ns / 1e9;
  if (told.cpu_ns) step.usage.cpu = told.cpu_ns / 1e9;
  if (told.memory_peak_bytes) step.usage.memory = told.memory_peak_bytes;
}

export function filesOfStep(run: string | null, step: number, files: any[] | undefined) {
  return (files ?? [])
    .filter((file) => file.kept !== false)
    .map((file) => ({
      name: String(file.name),
      bytes: Number(file.bytes ?? 0),
      url: file.url ?? `/runs/${run}/files/${step}/${encodeURIComponent(file.name)}`,
    }));
}

export function stepsOfCapsule(capsule: any): Step[] {
  return (capsule.steps ?? []).map((told: any, i: number) => {
    const number = told.number ?? i + 1;
    const step = newStep(number, told.sql ?? told.code ?? "", told.sql ? "sql" : "python");
    addText(step, "stdout", told.stdout ?? "");
    addText(step, "stderr", told.stderr ?? "");
    finishStep(step, told);
    step.files = filesOfStep(capsule.run_id, number, told.files);
    for (const file of step.files)
      if (/\.(png|jpe?g|gif|webp)$/i.test(file.name))
        step.pieces.push({ kind: "image", url: file.url, name: file.name });
    return step;
  });
}

export function runOf(row: any): Run {
  return {
    id: row.run_id,
    created: row.created_at ?? "",
    status: row.status ?? "",
    question: row.question ?? "",
    thread: row.thread_id ?? null,
    model: row.model ?? "",
    seconds: typeof row.exec_time_ms === "number" ? row.exec_time_ms / 1000 : null,
    steps: Array.isArray(row.steps) ? row.steps.length : Number(row.steps ?? 0),
  };
}
