// The console: live sessions, their states, files and failures; and what the page is around them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { button, frame, on, run, saved, serve, session, shot } from "./bench.mjs";

serve();

test("it begins empty, and says what it is for", () =>
  on({ at: "/#console" }, async (page) => {
    await button(page, "Begin a session").waitFor();
    await shot(page, "console-empty");
    assert.match(await page.title(), /jailrun/);
  }));

test("a cell's output arrives while it runs, and the stop button stops it", () =>
  on({ at: "/#console" }, async (page) => {
    await session(page);
    await page
      .getByRole("textbox", { name: /^Python for/ })
      .fill("x = 3\nprint('on', flush=True)\nwhile True: pass");
    await button(page, "Run").click();
    await page.getByText("on", { exact: true }).waitFor();
    await shot(page, "console-running");
    await button(page, "Stop").click();
    await page.getByText("It was stopped.").waitFor();
    const step = await run(page, "x");
    assert.equal(await step.locator("pre.out").innerText(), "3");
    assert.match(await step.locator(".usage").innerText(), /\d ms|\d s/);
  }));

test("a table sorts, pages and is saved", () =>
  on({ at: "/#console" }, async (page) => {
    await session(page);
    const step = await run(page, frame);
    await step.getByText("120 rows", { exact: true }).waitFor(); // the first fifty are there before
    const first = () => step.locator("tbody tr").first().locator("td").nth(1).innerText();
    await button(step, "units").click();
    assert.equal(await first(), "0");
    await button(step, "Next page").click();
    assert.equal(await first(), "25");
    assert.equal(await step.locator("th[aria-sort=ascending]").count(), 1);
    await button(step, "units").click();
    assert.equal(await first(), "119");
    await shot(page, "table");
    const path = await saved(page, () => button(step, "Save as CSV").click());
    assert.equal(readFileSync(path, "utf8").split("\r\n")[0], "region,units");
  }));

test("a plot is a picture", () =>
  on({ at: "/#console" }, async (page) => {
    await session(page);
    const step = await run(
      page,
      frame + ".groupby('region').units.mean().plot.bar(color='#0b6e69')",
    );
    const picture = step.getByRole("img");
    await picture.waitFor();
    assert.ok((await picture.evaluate((image) => image.naturalWidth)) > 100);
    await shot(page, "plot");
  }));

test("failures are told in plain words, with their evidence", () =>
  on({ at: "/#console" }, async (page) => {
    await session(page);
    let step = await run(page, "total = 0\n1 / total");
    await step.getByText("The code ended with an error.").waitFor();
    await step.getByText("Where it happened").click();
    await step.getByText("1 / total", { exact: false }).last().waitFor();
    await shot(page, "error");
    step = await run(page, "rows = bytearray(3 << 30)");
    await step.getByText("It needed more memory than it may have, and was stopped.").waitFor();
    await step.getByText("out_of_memory", { exact: true }).waitFor();
    await step.getByText("What the system saw").click();
    await shot(page, "killed-by-limit");
    await page.getByText("This session has ended").waitFor();
  }));

test("every state can be returned to and branched from, and branches compared", () =>
  on({ at: "/#console" }, async (page) => {
    await session(page);
    const first = await run(page, "x = 1");
    await run(page, "x = 2\nx");
    await button(first, "Return here").click();
    await page.locator("article.step.faded").waitFor();
    assert.equal(await (await run(page, "x")).locator("pre.out").innerText(), "1");
    await button(first, "Branch").click();
    await page.getByText("Cell 1 is the same in both.").first().waitFor();
    await page.getByRole("textbox", { name: /^Python for/ }).fill("x + 41");
    await page.keyboard.press("Control+Enter");
    await page.getByText("42", { exact: true }).waitFor();
    await shot(page, "branch-compare");
    await page.reload();
    await page.getByText("42", { exact: true }).waitFor(); // what a tab has seen, it keeps
  }));

test("a cell that is sent while another runs waits for it, unless that one is stopped", () =>
  on({ at: "/#console" }, async (page) => {
    await session(page);
    const editor = page.getByRole("textbox", { name: /^Python for/ });
    const send = async (code) => {
      await editor.fill(code);
      await page.keyboard.press("Control+Enter");
    };
    await send("long = sum(range(20_000_000))");
    await send("print('then', long > 1)");
    await page.getByText("then True", { exact: true }).waitFor();
    assert.equal(await page.locator("article.step").count(), 2);
    await page.locator(".composer button.stop").first().waitFor({ state: "detached" });
    await send("while True: pass");
    await send("print('kept')");
    await page.getByText("Runs as soon as the cell before it is done.").waitFor();
    await button(page, "Stop").click();
    await page.locator(".composer button.stop").first().waitFor({ state: "detached" });
    assert.equal(await editor.inputValue(), "print('kept')");
  }));

test("files go in and come out", () =>
  on({ at: "/#console" }, async (page) => {
    await session(page);
    const file = {
      name: "sales.csv",
      mimeType: "text/csv",
      buffer: Buffer.from("a,b\n1,2\n3,4\n"),
    };
    await page.getByText("Add files").locator("..").locator("input").setInputFiles(file);
    await page.getByText("sales.csv is in /work").waitFor();
    const text = await page.getByRole("textbox", { name: /^Python for/ }).inputValue();
    const step = await run(
      page,
      `${text}.sum().to_csv("out.csv")\nimport os; os.makedirs("d", exist_ok=True)\nopen("d/e.txt", "w").write("deep")`,
    );
    for (const [name, content] of [
      ["out.csv", ",0\na,4\nb,6\n"],
      ["d/e.txt", "deep"],
    ]) {
      const path = await saved(page, () => step.getByTitle(`Download ${name}`).click());
      assert.equal(readFileSync(path, "utf8"), content);
    }
    const notebook = await saved(page, () => button(page, "Notebook").click());
    assert.equal(JSON.parse(readFileSync(notebook, "utf8")).nbformat, 4);
  }));

test("dark and narrow, it is all there", () =>
  on(
    { at: "/#console", viewport: { width: 390, height: 780 }, colorScheme: "dark" },
    async (page) => {
      await session(page);
      await run(page, frame);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.equal(wide, false);
      await shot(page, "narrow-dark");
      await page.setViewportSize({ width: 1280, height: 860 });
      await shot(page, "dark");
    },
  ));

test("health is told, and the keyboard goes everywhere", () =>
  on({}, async (page) => {
    await page.getByRole("navigation").waitFor();
    const links = await page.getByRole("navigation").getByRole("link").allInnerTexts();
    await page.keyboard.press(`Alt+${links.indexOf("Service") + 1}`);
    await page.getByText("All is well.").waitFor();
    await page.getByText("python", { exact: true }).waitFor();
    await shot(page, "service");
    await page.keyboard.press("?");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.keyboard.press(`Alt+${links.indexOf("Console") + 1}`);
    await button(page, "Begin a session").waitFor();
    const unnamed = await page.evaluate(() =>
      [...document.querySelectorAll("button, a, input, select, textarea, iframe")]
        .filter(
          (each) =>
            !(each.ariaLabel || each.innerText?.trim() || each.title || each.labels?.length),
        )
        .map((each) => each.outerHTML),
    );
    assert.deepEqual(unnamed, []);
  }));
