// Sessions: cells that run one after another in a live interpreter, the states between them, branches.
import { call, events, upload } from "./api";
import { wholeTable } from "./arrow";
import { finishCell, newStep, pieceOf, addText } from "./from";
import { change, has, say, state } from "./state";
import type { Cell, Session, Step } from "./types";
import { wordsOf } from "./words";

const path = (session: Session) => `/v1/sessions/${encodeURIComponent(session.id)}`;
const running = new Map<string, AbortController>();
let counted = 0;

export const sessionOf = (id: string) => state.sessions.find((each) => each.id === id);
// Cells whose effects the session still has.
export const alive = (session: Session) => session.cells.filter((cell) => !cell.undone);

function add(id: string, policy: string, more: Partial<Session> = {}): Session {
  const session = {
    id,
    label: `Session ${++counted}`,
    policy,
    cells: [],
    draft: "",
    busy: false,
    waits: false,
    ended: false,
    ...more,
  };
  state.sessions.push(session);
  state.shown = id;
  change();
  return session;
}

export async function newSession(files: string[] = []): Promise<Session | null> {
  try {
    const given = files.length ? { files, user_id: state.user } : {};
    const { id, policy } = await call("POST", "/v1/sessions", given);
    return add(id, policy ?? "python");
  } catch (error) {
    say(wordsOf(error));
    return null;
  }
}

// Those that another visit has left open.
export async function loadSessions(): Promise<void> {
  if (!has("GET /v1/sessions")) return;
  for (const row of (await call("GET", "/v1/sessions")).sessions)
    if (!sessionOf(row.id)) add(row.id, row.policy, { label: `Session ${row.id.slice(0, 8)}` });
  state.shown = state.sessions[0]?.id ?? "";
  recall();
  change();
}

// What this tab has seen of its sessions, for when it is loaded anew. Large pictures are left out.
const kSeen = "jailrun.sessions";
const kMostPiece = 200_000;

function remember(): void {
  const rows = state.sessions.map(({ busy: _, waits: __, ...session }) => session);
  const small = (key: string, value: unknown) => {
    if (key === "rows" && Array.isArray(value) && value.length > 200) return value.slice(0, 200);
    const large =
      (key === "url" || key === "text" || key === "html") &&
      typeof value === "string" &&
      value.length > kMostPiece;
    return large ? "" : value;
  };
  try {
    sessionStorage.setItem(
      kSeen,
      JSON.stringify({ rows, shown: state.shown, beside: state.beside }, small),
    );
  } catch {
    sessionStorage.removeItem(kSeen); // more than a tab may keep
  }
}

function recall(): void {
  const seen = JSON.parse(sessionStorage.getItem(kSeen) ?? "{}");
  if (sessionOf(seen.shown)) state.shown = seen.shown;
  if (sessionOf(seen.beside)) state.beside = seen.beside;
  for (const row of (seen.rows ?? []) as Session[]) {
    const session = sessionOf(row.id);
    if (session) Object.assign(session, row, { busy: false, waits: false });
    counted = Math.max(counted, Number(/^Session (\d{1,4})$/.exec(row.label)?.[1] ?? 0));
  }
}

async function savepoint(session: Session): Promise<number | null> {
  try {
    return (await call("POST", `${path(session)}/savepoints`)).savepoint;
  } catch {
    return null; // the cell says so: it offers no way back
  }
}

// A table comes with its first rows; the others follow.
async function complete(session: Session, step: Step): Promise<void> {
  const piece = step.pieces.find((each) => each.kind === "table");
  if (piece?.kind !== "table" || !has("GET /v1/sessions/{id}/tables/{name}")) return;
  try {
    piece.table = (await wholeTable(session.id, piece.table)) ?? piece.table;
  } catch {
    // The first rows are there, and say that they are.
  }
}

export async function run(session: Session, code: string): Promise<Cell | null> {
  if (!code.trim() || session.busy || session.ended) return null;
  const step = newStep(session.cells.length + 1, code);
  const cell: Cell = { step, savepoint: null, undone: false };
  const stop = new AbortController();
  session.cells.push(cell);
  session.busy = true;
  running.set(session.id, stop);
  change();
  try {
    for await (const { name, data } of events(
      `${path(session)}/execute/stream`,
      { code, timeout: 300 },
      stop.signal,
    )) {
      if (name === "stdout" || name === "stderr") addText(step, name, data.text);
      if (name === "display") {
        const piece = pieceOf(data);
        if (piece) step.pieces.push(piece);
      }
      if (name === "answer") {
        finishCell(step, data, session.id);
        session.ended = data.outcome === "ended";
      }
      if (name === "error") throw new Error(String(data?.detail ?? ""));
      change();
    }
    if (step.status === "running") throw new Error("The service ended the connection.");
    if (!session.ended && step.status === "ok") cell.savepoint = await savepoint(session);
    if (!session.ended) await complete(session, step);
  } catch (error) {
    step.status = "failed";
    step.failure = { title: "The code was not run to its end.", detail: wordsOf(error) };
    if (/no session|has ended/.test(wordsOf(error))) session.ended = true;
  }
  running.delete(session.id);
  session.busy = false;
  change();
  remember();
  return cell;
}

// Runs the draft: now, or once what runs has ended well and its state is saved.
export async function send(session: Session): Promise<void> {
  if (session.busy) {
    session.waits = !!session.draft.trim();
    change();
    return;
  }
  const code = session.draft;
  session.draft = "";
  change();
  await run(session, code);
  await sendWaiting(session);
}

async function sendWaiting(session: Session): Promise<void> {
  if (!session.waits) return;
  session.waits = false;
  change();
  if (session.cells.at(-1)?.step.status === "ok") await send(session);
}

export async function interrupt(session: Session): Promise<void> {
  session.waits = false;
  try {
    await call("POST", `${path(session)}/interrupt`);
  } catch (error) {
    running.get(session.id)?.abort();
    say(wordsOf(error));
  }
}

// How many cells at their beginning two sessions have in common.
export function common(one: Session, other: Session): number {
  let count = 0;
  while (count < one.cells.length && one.cells[count]?.step.id === other.cells[count]?.step.id)
    ++count;
  return count;
}

export async function rollback(session: Session, cell: Cell): Promise<void> {
  try {
    await call("POST", `${path(session)}/rollback`, { savepoint: cell.savepoint });
    const at = session.cells.indexOf(cell);
    session.cells.forEach((each, i) => {
      if (i > at) each.undone = true;
    });
    remember();
    say(`${session.label} is as it was after cell ${cell.step.number}.`);
  } catch (error) {
    say(wordsOf(error));
  }
  change();
}

// A second session that goes on from the state after `cell`; both are there to be compared.
export async function branch(session: Session, cell: Cell): Promise<void> {
  try {
    const { id } = await call("POST", `${path(session)}/branch`, { savepoint: cell.savepoint });
    const at = session.cells.indexOf(cell);
    // What the session has saved is not the branch's to return to.
    const cells = session.cells.slice(0, at + 1).filter((each) => !each.undone);
    add(id, session.policy, {
      cells: cells.map((each) => ({ ...each, savepoint: null })),
      origin: { label: session.label, cell: cell.step.number },
    });
    state.beside = session.id;
    change();
    remember();
  } catch (error) {
    say(wordsOf(error));
  }
}

export async function close(session: Session): Promise<void> {
  try {
    await call("DELETE", path(session));
  } catch {
    // It has ended already.
  }
  running.get(session.id)?.abort();
  state.sessions = state.sessions.filter((each) => each !== session);
  if (state.shown === session.id) state.shown = state.sessions.at(-1)?.id ?? "";
  if (state.beside === session.id) state.beside = "";
  change();
  remember();
}

export async function putFiles(session: Session, files: Iterable<File>): Promise<void> {
  for (const file of files) {
    const row = { name: file.name, part: 0 };
    state.uploads.push(row);
    change();
    try {
      await upload(
        "PUT",
        `${path(session)}/files/${encodeURIComponent(file.name)}`,
        file,
        (part) => {
          row.part = part;
          change();
        },
      );
      say(`${file.name} is in /work of ${session.label}.`);
      if (/\.(csv|tsv)$/i.test(file.name) && !session.draft)
        session.draft = `import pandas as pd\ndf = pd.read_csv(${JSON.stringify(file.name)}${/tsv$/i.test(file.name) ? ', sep="\\t"' : ""})\ndf`;
    } catch (error) {
      say(`${file.name}: ${wordsOf(error)}`);
    }
    state.uploads.splice(state.uploads.indexOf(row), 1);
    change();
  }
}

// The steps of a run up to one of them, in a session in which a person goes on.
export async function openInConsole(steps: Step[], upTo: Step, files: string[]): Promise<void> {
  const session = await newSession(files);
  if (!session) return;
  state.view = "console";
  location.hash = "console";
  change();
  for (const step of steps) {
    if (step.number > upTo.number) break;
    if (step.language === "python") await run(session, step.code);
  }
  await sendWaiting(session);
}
