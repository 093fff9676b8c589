// The beginning, and where the address leads.
import { Refused, call, routes } from "./api";
import { loadThreads, openThread } from "./ask";
import { loadSessions } from "./console";
import { loadData } from "./data";
import { loadRuns, openRun } from "./runs";
import { change, has, say, state, type View } from "./state";
import { wordsOf } from "./words";

const needs: Record<View, string> = {
  ask: "POST /chat/stream",
  console: "POST /v1/sessions",
  runs: "GET /runs",
  service: "GET /health",
};

export function go(): void {
  const [view = "", id] = location.hash.slice(1).split("/");
  const wanted = view in needs && has(needs[view as View]) ? (view as View) : undefined;
  state.view =
    wanted ?? (Object.keys(needs) as View[]).find((each) => has(needs[each])) ?? "service";
  if (state.view === "runs") {
    loadRuns().catch((error) => say(wordsOf(error)));
    if (id) openRun(decodeURIComponent(id));
    else state.open = null;
  }
  document.title = `${{ ask: "Ask", console: "Console", runs: "Runs", service: "Service" }[state.view]} · jailrun`;
  change();
}

export async function begin(): Promise<void> {
  try {
    await call("GET", "/sessions");
    state.routes = await routes();
    state.needsKey = false;
    await Promise.all([loadData(), loadThreads(), loadSessions()]);
    if (state.thread && has("GET /threads/{id}/messages")) await openThread(state.thread);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) state.needsKey = true;
    else say(wordsOf(error));
  }
  state.ready = true;
  go();
}

const darkness = matchMedia("(prefers-color-scheme: dark)");

function shade(): void {
  const dark = state.theme === "dark" || (state.theme === "auto" && darkness.matches);
  document.documentElement.dataset.shade = dark ? "dark" : "light";
  change();
}

export function setTheme(theme: typeof state.theme): void {
  state.theme = theme;
  localStorage.setItem("jailrun.theme", theme);
  shade();
}

function keys(event: KeyboardEvent): void {
  const typing =
    event.target instanceof HTMLElement && /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.altKey && /^[1-4]$/.test(event.key)) {
    const offered = (Object.keys(needs) as View[]).filter((view) => has(needs[view]));
    const view = offered[Number(event.key) - 1];
    if (view) location.hash = view;
    event.preventDefault();
  } else if (!typing && event.key === "?") {
    state.help = true;
    change();
  } else if (!typing && event.key === "/") {
    (document.getElementById("question") ?? document.getElementById("code"))?.focus();
    event.preventDefault();
  }
}

export function listen(): void {
  shade();
  darkness.addEventListener("change", shade);
  window.addEventListener("hashchange", go);
  window.addEventListener("keydown", keys);
  // A file that misses its place is not to replace the page.
  for (const name of ["dragover", "drop"])
    window.addEventListener(name, (event) => event.preventDefault());
}
