// Questions: from a file that is dropped in to an answer, its steps, its history, and what goes on from there.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { button, on, saved, serve, shot } from "./bench.mjs";

serve();

const regions = ["north", "south", "east", "west"];
const rows = Array.from(
  { length: 80 },
  (_, i) => `${regions[i % 4]},${(i * 37) % 91},${2020 + (i % 3)}`,
);
const sales = {
  name: "sales.csv",
  mimeType: "text/csv",
  buffer: Buffer.from(`region,units,year\n${rows.join("\n")}\n`),
};
const mean = "What is the mean of units by region?";

async function drop(page) {
  await page.getByText("Drop files here").locator("..").locator("input").setInputFiles(sales);
  await page.getByRole("checkbox", { name: /sales.csv/, checked: true }).waitFor();
}

async function ask(page, question) {
  const count = await page.locator(".turn").count();
  await page.getByRole("textbox", { name: "Question" }).fill(question);
  await page.keyboard.press("Enter");
  const turn = page.locator(".turn").nth(count);
  await turn.waitFor();
  await button(page, "Ask").waitFor({ timeout: 60_000 });
  return turn;
}

test("a file, a question, an answer with its code, and a follow-up", () =>
  on({ at: "/#ask" }, async (page) => {
    await page.getByText("Ask about your data").waitFor();
    await shot(page, "ask-empty");
    await drop(page);
    await page.getByText("Suggested prompts:").waitFor();
    const turn = await ask(page, mean);
    assert.ok((await turn.locator("article.step.ok").count()) >= 1);
    assert.match(await turn.innerText(), /north/);
    await shot(page, "ask-answer");
    await ask(page, "What is the largest number of units?");
    assert.equal(await page.locator(".threads li").count(), 1);
    await page.reload();
    await page.locator(".turn").nth(1).waitFor(); // the thread is the service's
    assert.equal(await page.locator(".turn").count(), 2);
  }));

test("SQL and Python are run as they are; what is refused says why", () =>
  on({ at: "/#ask" }, async (page) => {
    await drop(page);
    let turn = await ask(
      page,
      "SQL: SELECT region, sum(units) AS total FROM sales GROUP BY region ORDER BY total DESC",
    );
    await turn.getByRole("table").first().waitFor();
    assert.equal(await turn.getByRole("table").first().locator("tbody tr").count(), 4);
    await shot(page, "ask-sql");
    turn = await ask(page, "SQL: DROP TABLE sales");
    await turn.getByRole("alert").waitFor();
    await shot(page, "ask-refused");
  }));

test("the stop button stops a run", () =>
  on({ at: "/#ask" }, async (page) => {
    await drop(page);
    await page.getByRole("textbox", { name: "Question" }).fill("PYTHON: n = 0\nwhile True: n += 1");
    await page.keyboard.press("Enter");
    await button(page, "Stop").waitFor();
    await page.locator("article.step.running").waitFor();
    await shot(page, "ask-running");
    await button(page, "Stop").click();
    await page.getByText("You stopped this.").waitFor();
  }));

test("runs are kept, with notebook and report, and two are compared", () =>
  on({ at: "/#ask" }, async (page) => {
    await drop(page);
    await ask(page, mean);
    await page.getByRole("link", { name: "Runs" }).click();
    await page.locator(".runs li").nth(1).waitFor();
    await page.locator(".runs li a").first().click();
    const capsule = page.locator("article.capsule");
    await capsule.waitFor();
    assert.match(await capsule.innerText(), /sales\.csv/);
    await shot(page, "history");
    const notebook = await saved(page, () => button(capsule, "Notebook").click());
    assert.equal(JSON.parse(readFileSync(notebook, "utf8")).nbformat, 4);
    const report = readFileSync(await saved(page, () => button(capsule, "Report").click()), "utf8");
    assert.match(report, /^<!doctype html>/i);
    await page.locator(".runs input").nth(0).check();
    await page.locator(".runs input").nth(1).check();
    await button(page, "Compare").click();
    await page.locator(".pair article.capsule").nth(1).waitFor();
    await shot(page, "runs-compare");
  }));

test("a step of a run is gone on from in a session", () =>
  on({ at: "/#ask" }, async (page) => {
    await drop(page);
    const turn = await ask(page, mean);
    await button(turn, "Branch from here").first().click();
    await page.getByRole("tab").first().waitFor();
    await page.locator("article.step.ok").first().waitFor();
    await shot(page, "branch-of-run");
  }));
