// Parses and binds Kusto queries. Of stdin: {tables: {name: columns}, functions: {name: body}, queries: {name: text}}; on
// stdout what is wrong with each query and function, by name.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { runInThisContext } from "node:vm";

const require = createRequire(import.meta.url);
for (const file of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
  runInThisContext(readFileSync(require.resolve(`@kusto/language-service-next/${file}`), "utf8"), file);
}
const { KustoCode, GlobalState, Symbols } = globalThis.Kusto.Language;
const { tables, functions, queries } = JSON.parse(readFileSync(0, "utf8"));

const members = [
  ...Object.entries(tables).map(([name, columns]) => new Symbols.TableSymbol.$ctor7(name, `(${columns})`, null)),
  ...Object.entries(functions).map(([name, body]) => new Symbols.FunctionSymbol.$ctor16(name, "()", `{${body}}`, null)),
];
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("workspace", members));
const found = {};
for (const [name, text] of Object.entries({ ...functions, ...queries })) {
  const list = KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics();
  found[name] = [];
  for (let at = 0; at < list.Count; at += 1) {
    const each = list.getItem(at);
    found[name].push(`${each.Message} at ${JSON.stringify(text.slice(each.Start, each.Start + each.Length))}`);
  }
}
process.stdout.write(JSON.stringify(found));
