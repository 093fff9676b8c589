// What the page holds. Names of the service's own JSON are in api.ts and from.ts alone.

export interface Table {
  columns: string[];
  numeric: boolean[];
  rows: unknown[][];
  index?: unknown[]; // a label of each row
  total: number; // rows that there are; `rows` may hold the first of them
  about?: string;
}

// One thing that a step has shown, in the order of showing.
export type Piece = { isResult?: boolean } & (
  | { kind: "stdout" | "stderr" | "text"; text: string }
  | { kind: "image"; url: string; name: string }
  | { kind: "frame"; html: string; name: string } // a guest's HTML or SVG: sandboxed only
  | { kind: "markdown"; text: string }
  | { kind: "json"; text: string; name: string }
  | { kind: "table"; table: Table }
);

export interface FileLink {
  name: string;
  bytes: number;
  url: string;
}

export interface Failure {
  title: string; // in plain words
  detail: string;
  remedy?: string;
  trace?: string;
  verdict?: string;
  evidence?: Record<string, unknown>;
}

export interface Usage {
  wall?: number; // seconds
  cpu?: number; // seconds
  memory?: number; // bytes, at its peak
  processes?: number;
}

export interface Step {
  id: string; // no other step has it
  number: number;
  language: "python" | "sql";
  code: string;
  status: "running" | "ok" | "failed" | "stopped";
  pieces: Piece[];
  files: FileLink[];
  usage: Usage;
  notes: string[];
  failure?: Failure;
}

export interface Cell {
  step: Step;
  savepoint: number | null; // the state after it
  undone: boolean; // a return to an earlier state has taken it back
}

export interface Session {
  id: string;
  label: string;
  policy: string;
  origin?: { label: string; cell: number };
  cells: Cell[];
  draft: string;
  busy: boolean;
  waits: boolean; // the draft is to run once the session is free
  ended: boolean;
}

export interface Turn {
  question: string;
  runId: string | null;
  stage: string; // what goes on; empty when nothing does
  text: string; // of the model, so far
  answer: string | null;
  status: "running" | "succeeded" | "failed" | "rejected" | "stopped";
  plan?: string; // JSON
  steps: Step[];
  table?: Table;
  failure?: Failure;
  usage: Usage;
}

export interface StoredFile {
  id: string;
  name: string;
  bytes: number;
  expires: string | null;
}

export interface DataSet {
  id: string;
  name: string;
  description: string;
  prompts: string[];
}

export interface Run {
  id: string;
  created: string;
  status: string;
  question: string;
  thread: string | null;
  model: string;
  seconds: number | null;
  steps: number;
}
