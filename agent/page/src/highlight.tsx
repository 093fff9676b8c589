// Python and SQL in colours, as text: nothing here makes HTML of code.
import { useMemo } from "preact/hooks";

const python =
  "and as assert async await break class continue def del elif else except False finally for from global if import in is lambda None nonlocal not or pass raise return True try while with yield match case";
const sql =
  "select from where group by order limit having join left right inner outer full cross on as and or not in is null between like case when then else end distinct union all with over partition desc asc cast count sum avg min max";
const words = { python: new Set(python.split(" ")), sql: new Set(sql.split(" ")) };
const token = {
  python:
    /(#[^\n]*)|((?:[rbfuRBFU]{0,2})(?:"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))|\b(\d[\d_.]*(?:e[+-]?\d+)?)\b|([A-Za-z_]\w*)/g,
  sql: /(--[^\n]*)|('(?:''|[^'])*'?|"(?:""|[^"])*"?)|\b(\d[\d.]*)\b|([A-Za-z_]\w*)/g,
};

export function Code({ text, language }: { text: string; language: "python" | "sql" }) {
  const parts = useMemo(() => {
    const out: preact.ComponentChild[] = [];
    let at = 0;
    for (const match of text.matchAll(token[language])) {
      const [all, comment, string, number, word] = match;
      const known =
        word !== undefined && words[language].has(language === "sql" ? word.toLowerCase() : word);
      const name = comment ? "c" : string ? "s" : number ? "n" : known ? "k" : "";
      if (!name) continue;
      out.push(text.slice(at, match.index), <span class={`t-${name}`}>{all}</span>);
      at = match.index + all.length;
    }
    out.push(text.slice(at));
    return out;
  }, [text, language]);
  return (
    <pre class="code" tabIndex={0} aria-label={`${language === "sql" ? "SQL" : "Python"} code`}>
      <code>{parts}</code>
    </pre>
  );
}
