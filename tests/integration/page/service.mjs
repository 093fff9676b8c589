// A jaild and a jailagent of their own, and a Chromium to look at the page with.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const kChromium = ["/usr/bin/chromium", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path),
);
const flags =
  "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";

function ended(child) {
  return new Promise((resolve) =>
    child.exitCode !== null ? resolve(child.exitCode) : child.once("exit", resolve),
  );
}

export class Service {
  // `extra`: more arguments of `jailagent serve`.
  static async start(bin, { extra = [], env = {} } = {}) {
    const self = new Service();
    self.dir = mkdtempSync(join(tmpdir(), "page-test-"));
    const log = openSync(join(self.dir, "log"), "w");
    const socket = join(self.dir, "jaild");
    self.jaild = spawn(join(bin, "jaild"), ["--socket", socket], { stdio: ["ignore", log, log] });
    const given = [
      "--listen",
      "127.0.0.1:0",
      "--jaild",
      socket,
      "--store",
      join(self.dir, "store"),
      "--record",
      join(self.dir, "record.db"),
    ];
    const keys = extra.includes("--keys") ? [] : ["--keys", join(self.dir, "keys.json")];
    const home = {
      XDG_DATA_HOME: self.dir,
      XDG_CONFIG_HOME: self.dir,
      LLM_PROVIDER: "offline",
      ...env,
    };
    self.agent = spawn(join(bin, "jailagent"), ["serve", ...given, ...keys, ...extra], {
      stdio: ["ignore", "pipe", log],
      env: { ...process.env, ...home },
    });
    const line = await new Promise((resolve, reject) => {
      self.agent.stdout.once("data", (data) => resolve(String(data)));
      self.agent.once("exit", (status) => reject(new Error(`jailagent ended with ${status}`)));
      self.agent.once("error", reject);
    }).catch(async (error) => {
      await self.end();
      throw error;
    });
    self.url = `http://127.0.0.1:${/:(\d+)\s*$/.exec(line)[1]}`;
    return self;
  }

  // Until jails are to be had: the first of them take seconds.
  async warm(headers = {}) {
    for (let i = 0; ; ++i) {
      const reply = await this.ask("POST", "/v1/run", { code: "1" }, headers);
      if (reply.status === 200) return;
      if (i > 60) throw new Error(`no jail in a minute: ${await reply.text()}`);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }

  ask(method, path, body, headers = {}) {
    const text = body === undefined ? undefined : JSON.stringify(body);
    return fetch(this.url + path, {
      method,
      body: text,
      headers: { "Content-Type": "application/json", ...headers },
    });
  }

  async end() {
    for (const child of [this.agent, this.jaild]) {
      if (child.pid === undefined) continue; // it never began
      child.kill("SIGTERM");
      await ended(child);
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export const browse = () => chromium.launch({ executablePath: kChromium, args: flags.split(" ") });

// A page in a fresh profile that keeps account of what must not happen: errors, refusals of the
// content security policy, requests to anywhere else.
export async function visit(browser, service, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  page.wrong = [];
  page.on("pageerror", (error) => page.wrong.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") page.wrong.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(service.url) && !/^(data|blob|about):/.test(request.url()))
      page.wrong.push(`request: ${request.url()}`);
  });
  await page.addInitScript(() => {
    window.refusals = [];
    document.addEventListener("securitypolicyviolation", (event) =>
      window.refusals.push(`${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  await page.goto(service.url + (options.at ?? "/"));
  return page;
}
