// Numbers and failures as people say them.
import type { Failure, Usage } from "./types";

export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let unit = -1;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    ++unit;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function seconds(value: number): string {
  if (value < 0.0995) return `${(value * 1000).toFixed(value < 0.00995 ? 1 : 0)} ms`;
  if (value < 60) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  return value < 48 * 3600
    ? `${(value / 3600).toFixed(1)} h`
    : `${(value / 86400).toFixed(1)} days`;
}

export function when(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const today = new Date().toDateString() === date.toDateString();
  return today
    ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : date.toLocaleString([], {
        day: "numeric",
        month: "short",
        hour: "2-digit",
        minute: "2-digit",
      });
}

export function usageWords(usage: Usage): string[] {
  const words: string[] = [];
  if (usage.wall) words.push(seconds(usage.wall));
  if (usage.cpu !== undefined) words.push(`${seconds(usage.cpu)} CPU`);
  if (usage.memory) words.push(`${bytes(usage.memory)} memory`);
  if (usage.processes)
    words.push(`${usage.processes} ${usage.processes === 1 ? "process" : "processes"}`);
  return words;
}

const verdicts: Record<string, string> = {
  cancelled: "It was stopped.",
  policy_violation: "It tried something that is not allowed here, and was stopped.",
  out_of_memory: "It needed more memory than it may have, and was stopped.",
  wall_timeout: "It took longer than it may, and was stopped.",
  cpu_timeout: "It used more processor time than it may, and was stopped.",
  output_limit: "It printed more than it may, and was stopped.",
  pids_limit: "It started more processes than it may, and was stopped.",
  disk_limit: "It wrote more to disk than it may, and was stopped.",
  signalled: "It crashed.",
  nonzero_exit: "It ended with an error.",
};

export function verdictFailure(
  verdict: string,
  reason: string,
  evidence?: Record<string, unknown>,
): Failure {
  return { title: verdicts[verdict] ?? `It ended: ${verdict}.`, detail: reason, verdict, evidence };
}

const errors: Record<string, string> = {
  LLM_UNAVAILABLE: "No model is configured for questions in words.",
  FEATURE_DISABLED: "This is switched off on this service.",
  SQL_POLICY_VIOLATION: "This SQL is not allowed here, and was not run.",
  PYTHON_POLICY_VIOLATION: "This Python is not allowed here, and was not run.",
  SQL_EXECUTION_ERROR: "The SQL ended with an error.",
  PYTHON_EXECUTION_ERROR: "The code ended with an error.",
  RUNNER_TIMEOUT: "It took longer than it may, and was stopped.",
  RUNNER_RESOURCE_EXCEEDED: "It needed more than it may have, and was stopped.",
};

// {type, message} of a run, and its status.
export function runFailure(error: any, status: string): Failure {
  const otherwise =
    { rejected: "This was refused.", interrupted: "It was stopped." }[status] ??
    "This did not work out.";
  return {
    title: errors[error.type] ?? otherwise,
    detail: error.message ?? "",
    verdict: errors[error.type] ? error.type : undefined,
  };
}

export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
