// Service: how it is, and what its jails do.
import { useEffect } from "preact/hooks";
import { loadHealth } from "../health";
import { state } from "../state";
import { bytes, seconds } from "../words";

const words: Record<string, string> = {
  healthy: "All is well.",
  degraded: "The service is there, but no jails are to be had: jaild does not answer.",
  unreachable: "The service does not answer.",
};

function value(name: string, policy?: string): number {
  const fits = (row: (typeof state.metrics)[number]) =>
    row.name === name && (policy === undefined || row.labels.policy === policy);
  return state.metrics.filter(fits).reduce((sum, row) => sum + row.value, 0);
}

function Policies() {
  const names = [
    ...new Set(state.metrics.map((row) => row.labels.policy).filter((name) => name !== undefined)),
  ].sort();
  if (!names.length) return null;
  const ended = (policy: string) =>
    state.metrics.filter(
      (row) =>
        row.name === "jaild_ended_total" && row.labels.policy === policy && row.value > 0,
    );
  return (
    <section aria-label="Policies">
      <h2>Jails by policy</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Jails by policy">
        <table>
          <thead>
            <tr>
              {["Policy", "Ready", "In use", "Waiting", "Lent", "How they ended"].map((head, i) => (
                <th scope="col" class={i > 0 && i < 5 ? "num" : ""}>
                  {head}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {names.map((policy) => (
              <tr>
                <th scope="row">{policy}</th>
                <td class="num">{value("jaild_parked", policy)}</td>
                <td class="num">{value("jaild_leased", policy)}</td>
                <td class="num">{value("jaild_waiting", policy)}</td>
                <td class="num">{value("jaild_leases_total", policy)}</td>
                <td>
                  {ended(policy)
                    .map((row) => `${row.labels.verdict?.replaceAll("_", " ")} ${row.value}`)
                    .join(", ")}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

export function ServiceView() {
  useEffect(() => {
    loadHealth();
    const timer = setInterval(() => document.visibilityState === "visible" && loadHealth(), 5000);
    return () => clearInterval(timer);
  }, []);
  const status: string = state.health?.status ?? "";
  const memory = value("jaild_memory_available_bytes");
  const facts: [string, string][] = [
    ["Up for", seconds(value("jailagent_uptime_seconds"))],
    ["Sessions", String(value("jailagent_sessions"))],
    ["Jails in use", String(value("jaild_leased"))],
    ["Jails ready", String(value("jaild_parked"))],
    ["Memory left on the host", memory ? bytes(memory) : "unknown"],
    [
      "Replies",
      ["2xx", "4xx", "5xx"]
        .map(
          (each) =>
            `${each}: ${state.metrics.find((row) => row.name === "jailagent_replies_total" && row.labels.status === each)?.value ?? 0}`,
        )
        .join(" · "),
    ],
  ];
  return (
    <div class="work alone">
      <h1>Service</h1>
      <p role="status">
        <span class={`tag ${status === "healthy" ? "succeeded" : "failed"}`}>{status || "…"}</span>{" "}
        {words[status] ?? ""}
      </p>
      {state.metrics.length > 0 && (
        <dl class="facts">
          {facts.map(([name, text]) => (
            <>
              <dt>{name}</dt>
              <dd>{text}</dd>
            </>
          ))}
        </dl>
      )}
      <Policies />
      <p class="dim small">
        For programs: <a href="/openapi.json">openapi.json</a>, <a href="/metrics">metrics</a>.
      </p>
    </div>
  );
}
