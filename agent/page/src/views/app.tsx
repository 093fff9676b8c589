// The frame around the views: where to go, in which light, with which key.
import { useEffect, useRef, useState } from "preact/hooks";
import { begin, setTheme } from "../begin";
import { hasKey, setKey } from "../api";
import { change, has, state, type View } from "../state";
import { AskView } from "./ask";
import { ConsoleView } from "./console";
import { RunsView } from "./runs";
import { ServiceView } from "./service";

const views: { view: View; label: string; needs: string }[] = [
  { view: "ask", label: "Ask", needs: "POST /chat/stream" },
  { view: "console", label: "Console", needs: "POST /v1/sessions" },
  { view: "runs", label: "Runs", needs: "GET /runs" },
  { view: "service", label: "Service", needs: "GET /health" },
];
export const offered = () => views.filter((each) => has(each.needs));

function Head() {
  const next = { auto: "light", light: "dark", dark: "auto" } as const;
  return (
    <header class="top">
      <span class="brand">jailrun</span>
      <nav aria-label="Views">
        {offered().map((each) => (
          <a href={`#${each.view}`} aria-current={each.view === state.view ? "page" : undefined}>
            {each.label}
          </a>
        ))}
      </nav>
      <span class="right">
        <button
          class="link"
          onClick={() => setTheme(next[state.theme])}
          aria-label={`Colours: ${state.theme}. Change`}
        >
          {state.theme === "auto" ? "Auto" : state.theme === "light" ? "Light" : "Dark"}
        </button>
        <button
          class="link"
          aria-label="Keys of the keyboard"
          onClick={() => {
            state.help = true;
            change();
          }}
        >
          ?
        </button>
      </span>
    </header>
  );
}

function KeyForm() {
  const [key, set] = useState("");
  return (
    <main class="work alone">
      <form
        class="empty"
        onSubmit={(event) => {
          event.preventDefault();
          setKey(key);
          begin();
        }}
      >
        <h1>This service asks for a key</h1>
        <p>
          Whoever runs it makes one with <code>jailagent keys add NAME</code>. It is kept in this
          tab until the tab is closed.
        </p>
        {hasKey() && (
          <p class="failure" role="alert">
            This key is not known here, or has been taken back.
          </p>
        )}
        <div class="row">
          <input
            type="password"
            autocomplete="off"
            aria-label="Key"
            placeholder="jr_…"
            value={key}
            onInput={(event) => set(event.currentTarget.value)}
          />
          <button class="main" type="submit">
            Enter
          </button>
        </div>
      </form>
    </main>
  );
}

const keys = [
  ["Alt+1 … Alt+4", "the views"],
  ["Enter", "ask; Shift+Enter begins a line"],
  ["Ctrl+Enter", "run a cell"],
  ["Escape", "stop what runs"],
  ["/", "to the question or the code"],
  ["?", "this list"],
];

function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (state.help) dialog.current?.showModal();
    else dialog.current?.close();
  }, [state.help]);
  const close = () => {
    state.help = false;
    change();
  };
  return (
    <dialog ref={dialog} onClose={close} aria-label="Keys of the keyboard">
      <h2>Keys</h2>
      <dl class="facts">
        {keys.map(([key, what]) => (
          <>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </>
        ))}
      </dl>
      <button onClick={close}>Close</button>
    </dialog>
  );
}

export function App() {
  if (state.needsKey) return <KeyForm />;
  const shown = { ask: AskView, console: ConsoleView, runs: RunsView, service: ServiceView }[
    state.view
  ];
  const Shown = shown;
  return (
    <>
      <a
        class="skip"
        href="#content"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById("content")?.focus();
        }}
      >
        To the content
      </a>
      <Head />
      <main id="content" tabIndex={-1}>
        {state.ready ? <Shown /> : <p class="empty busy">Loading</p>}
      </main>
      <p class={`notice${state.notice ? " on" : ""}`} role="status">
        {state.notice}
      </p>
      <Help />
    </>
  );
}
