// Console: Python in live sessions, with ways back and aside.
import { useEffect, useRef } from "preact/hooks";
import {
  branch,
  close,
  common,
  interrupt,
  newSession,
  putFiles,
  rollback,
  send,
  sessionOf,
} from "../console";
import { saveNotebook } from "../notebook";
import { change, state } from "../state";
import type { Cell, Session } from "../types";
import { Composer } from "./composer";
import { Drop, Uploads } from "./data";
import { StepView } from "./step";

function CellView({ session, cell, quiet }: { session: Session; cell: Cell; quiet: boolean }) {
  const last = session.cells.filter((each) => !each.undone).at(-1) === cell;
  const way = cell.savepoint !== null && !session.busy && !session.ended && !cell.undone;
  const actions = quiet ? null : (
    <>
      <button
        class="link"
        title="Take this code into the editor"
        onClick={() => {
          session.draft = cell.step.code;
          change();
          document.getElementById("code")?.focus();
        }}
      >
        Edit
      </button>
      {way && !last && (
        <button
          class="link"
          title="Forget all that came after this cell"
          onClick={() => rollback(session, cell)}
        >
          Return here
        </button>
      )}
      {way && (
        <button
          class="link"
          title="A second session that goes on from the state after this cell"
          onClick={() => branch(session, cell)}
        >
          Branch
        </button>
      )}
    </>
  );
  return <StepView step={cell.step} faded={cell.undone} actions={actions} />;
}

function Editor({ session }: { session: Session }) {
  const text = useRef<HTMLTextAreaElement>(null);
  const submit = async () => {
    await send(session);
    text.current?.focus();
  };
  const keys = (event: KeyboardEvent & { currentTarget: HTMLTextAreaElement }) => {
    const area = event.currentTarget;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey || event.shiftKey)) {
      event.preventDefault();
      submit();
    } else if (event.key === "Enter" && !event.isComposing) {
      // The next line is as deep as this one, and one deeper after a colon.
      const before = area.value.slice(0, area.selectionStart);
      const line = before.slice(before.lastIndexOf("\n") + 1);
      const depth = /^\s*/.exec(line)![0] + (/:\s*$/.test(line) ? "    " : "");
      if (!depth) return;
      event.preventDefault();
      area.setRangeText(`\n${depth}`, area.selectionStart, area.selectionEnd, "end");
      session.draft = area.value;
      change();
    } else if (event.key === "Escape" && session.busy) {
      interrupt(session);
    }
  };
  if (session.ended)
    return (
      <p class="composer" role="status">
        This session has ended; its names are gone.{" "}
        <button class="main" onClick={() => newSession()}>
          New session
        </button>
      </p>
    );
  return (
    <Composer
      field={{
        id: "code",
        class: "mono",
        rows: Math.min(16, Math.max(3, session.draft.split("\n").length)),
        spellcheck: false,
        autocapitalize: "off",
        placeholder: "Python",
        "aria-label": `Python for ${session.label}`,
        onKeyDown: keys,
      }}
      fieldRef={text}
      value={session.draft}
      set={(code) => (session.draft = code)}
      verb="Run"
      send={submit}
      busy={session.busy}
      stop={() => interrupt(session)}
    >
      {session.waits && <p role="status">Runs as soon as the cell before it is done.</p>}
      <p class="dim small">
        Ctrl+Enter or Shift+Enter runs, Escape stops. The state after each cell is kept: return to
        it, or branch from it.
      </p>
    </Composer>
  );
}

function Cells({
  session,
  quiet = false,
  skip = 0,
}: {
  session: Session;
  quiet?: boolean;
  skip?: number;
}) {
  const end = useRef<HTMLDivElement>(null);
  const last = session.cells.at(-1)?.step;
  const amount =
    session.cells.length * 1000 +
    (last?.pieces.length ?? 0) * 2 +
    (last?.status === "running" ? 1 : 0);
  useEffect(() => {
    if (session.cells.length > skip && !quiet) end.current?.scrollIntoView({ block: "end" });
  }, [amount]);
  return (
    <div class="messages" aria-live="polite" aria-busy={session.busy}>
      {skip > 0 && (
        <p class="dim small">
          {skip === 1 ? "Cell 1 is" : `Cells 1 to ${skip} are`} the same in both.
        </p>
      )}
      {session.origin && skip === 0 && (
        <p class="dim small">
          Branched from {session.origin.label} after cell {session.origin.cell}.
        </p>
      )}
      {session.cells.length === 0 && !session.origin && (
        <div class="empty">
          <h1>A fresh interpreter</h1>
          <p>
            numpy, pandas, scipy, scikit-learn, matplotlib, seaborn, plotly, duckdb and polars are
            at hand. Files go to /work. There is no network.
          </p>
        </div>
      )}
      {session.cells.slice(skip).map((cell) => (
        <CellView key={cell.step.id} session={session} cell={cell} quiet={quiet} />
      ))}
      <div ref={end} class="end" />
    </div>
  );
}

function Tabs() {
  const order = state.sessions;
  const keys = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    const at = order.findIndex((each) => each.id === state.shown);
    state.shown = order[(at + step + order.length) % order.length]!.id;
    change();
    requestAnimationFrame(() =>
      document.querySelector<HTMLElement>('[role="tab"][aria-selected="true"]')?.focus(),
    );
  };
  return (
    <div class="tabs">
      <div role="tablist" aria-label="Sessions" onKeyDown={keys}>
        {order.map((each) => (
          <button
            role="tab"
            key={each.id}
            aria-selected={each.id === state.shown}
            tabIndex={each.id === state.shown ? 0 : -1}
            onClick={() => {
              state.shown = each.id;
              change();
            }}
          >
            {each.label}
            {each.busy && <span class="busy" aria-label="running" />}
          </button>
        ))}
      </div>
      <button onClick={() => newSession()}>New session</button>
    </div>
  );
}

function Bar({ session }: { session: Session }) {
  const others = state.sessions.filter((each) => each !== session);
  return (
    <div class="bar">
      <span class="dim small">policy {session.policy}</span>
      <Drop take={(files) => putFiles(session, files)} label="Add files" />
      <Uploads />
      {others.length > 0 && (
        <label class="small">
          Compare with{" "}
          <select
            value={state.beside}
            onChange={(event) => {
              state.beside = event.currentTarget.value;
              change();
            }}
          >
            <option value="">nothing</option>
            {others.map((each) => (
              <option value={each.id}>{each.label}</option>
            ))}
          </select>
        </label>
      )}
      <span class="right">
        {session.cells.length > 0 && (
          <button
            class="link"
            onClick={() =>
              saveNotebook(
                session.label,
                session.cells.filter((each) => !each.undone).map((each) => each.step),
              )
            }
          >
            Notebook
          </button>
        )}
        <button class="link" onClick={() => close(session)}>
          End session
        </button>
      </span>
    </div>
  );
}

export function ConsoleView() {
  const session = sessionOf(state.shown);
  const beside = state.beside !== state.shown ? sessionOf(state.beside) : undefined;
  if (!session)
    return (
      <div class="work alone">
        <div class="empty">
          <h1>Console</h1>
          <p>
            Run Python in a live session: names and files stay from cell to cell, and every state
            can be returned to or branched from.
          </p>
          <button class="main" onClick={() => newSession()}>
            Begin a session
          </button>
        </div>
      </div>
    );
  return (
    <div class="work alone">
      <Tabs />
      <Bar session={session} />
      {beside ? (
        <div class="pair">
          <section aria-label={session.label}>
            <h2>{session.label}</h2>
            <Cells session={session} skip={common(session, beside)} />
          </section>
          <section aria-label={beside.label}>
            <h2>{beside.label}</h2>
            <Cells session={beside} quiet skip={common(session, beside)} />
          </section>
        </div>
      ) : (
        <Cells session={session} />
      )}
      <Editor key={session.id} session={session} />
    </div>
  );
}
