// All that the page knows, in one object. Whoever changes it calls change(), which draws once a frame.
import type { DataSet, Run, Session, StoredFile, Turn } from "./types";

export type View = "ask" | "console" | "runs" | "service";

export interface Upload {
  name: string;
  part: number; // 0 to 1
}

export const state = {
  view: "console" as View,
  routes: new Set<string>(),
  ready: false,
  needsKey: false,
  notice: "", // said once, at the foot of the page
  help: false,
  theme: (localStorage.getItem("jailrun.theme") ?? "auto") as "auto" | "light" | "dark",

  // Data, shared by questions and sessions
  user: "me",
  dataSets: [] as DataSet[],
  dataSet: "",
  files: [] as StoredFile[],
  chosen: new Set<string>(), // ids of files
  uploads: [] as Upload[],

  // Questions
  thread: localStorage.getItem("csvAnalystThreadId"),
  threads: [] as { id: string; title: string; updated: string }[],
  turns: [] as Turn[],
  question: "",
  asking: null as AbortController | null,

  // Sessions
  sessions: [] as Session[],
  shown: "", // id of one
  beside: "", // id of the one that it is compared with

  // Runs
  runs: [] as Run[],
  open: null as any, // a capsule
  marked: [] as string[], // ids of runs to compare
  pair: [] as any[], // their capsules

  // The service
  health: null as any,
  metrics: [] as { name: string; labels: Record<string, string>; value: number }[],
};

let draw = () => {};
let drawing = false;

export function onChange(act: () => void): void {
  draw = act;
}

export function change(): void {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

export const has = (route: string) => state.routes.has(route);

let silence = 0;
export function say(notice: string): void {
  state.notice = notice;
  clearTimeout(silence);
  silence = window.setTimeout(() => {
    state.notice = "";
    change();
  }, 8000);
  change();
}

// A hidden page draws no frames: it is drawn once it is seen again.
document.addEventListener("visibilitychange", () => {
  drawing = false;
  change();
});
