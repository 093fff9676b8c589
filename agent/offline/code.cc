#include <algorithm>
#include <map>

#include "agent/base/text.h"
#include "agent/offline/question.h"

namespace jailrun::agent::offline {
namespace {

class Writer {
 public:
  Writer(const Query& query, const DataTable& table) : query_(query), table_(table) {}

  std::string write() {
    body();
    if (code_.find("plt.") != std::string::npos) return head(true) + code_;
    return head(false) + code_;
  }

 private:
  const DataColumn& column(std::size_t i) const { return table_.columns[i]; }
  std::string name(std::size_t i) const { return python_string(column(i).name); }
  std::string names(const std::vector<std::size_t>& columns) const {
    std::string out = "[";
    for (std::size_t i : columns) out += (out.size() > 1 ? ", " : "") + name(i);
    return out + "]";
  }
  void line(const std::string& text) { code_ += text + "\n"; }
  std::string title() const { return title_of(query_, table_); }

  std::string head(bool plots) const {
    std::string out = "import pandas as pd\n";
    if (table_.format == Format::Sqlite) out = "import sqlite3\n\n" + out;
    if (plots) out = "import matplotlib.pyplot as plt\n" + out;
    out += "\ndf = " + load_code(table_) + "\n";
    if (table_.renamed) out += "df.columns = df.columns.map(str)\n";
    for (std::size_t i = 0; i < table_.columns.size(); ++i)
      if (column(i).kind == Kind::Date && column(i).dtype.find("datetime") == std::string::npos &&
          uses(i))
        out += "df[" + name(i) + "] = pd.to_datetime(df[" + name(i) + "], errors=\"coerce\"" +
               (column(i).dayfirst ? ", dayfirst=True" : "") + ")\n";
    return out + filter() + "\n";
  }

  bool uses(std::size_t i) const {
    auto in = [&](const auto& list) { return std::count(list.begin(), list.end(), i) > 0; };
    return in(query_.measures) || in(query_.groups) ||
           (query_.task == Task::Trend && query_.date == i) ||
           std::any_of(query_.conditions.begin(), query_.conditions.end(),
                       [&](const auto& c) { return c.column == i; });
  }

  std::string literal(const Condition& condition, const std::string& value) const {
    const DataColumn& of = column(condition.column);
    if (of.kind == Kind::Bool) return value == "true" ? "True" : "False";
    return python_string(value);
  }

  std::string condition(const Condition& c) const {
    std::string of = "df[" + name(c.column) + "]";
    if (c.op == "between") return of + ".between(" + c.bounds[0] + ", " + c.bounds[1] + ")";
    if (c.op == "year") return of + ".dt.year == " + c.bounds[0];
    if (!c.bounds.empty()) return of + " " + c.op + " " + c.bounds[0];
    if (c.values.size() == 1) return of + " " + c.op + " " + literal(c, c.values[0]);
    std::string list;
    for (const auto& value : c.values) list += (list.empty() ? "" : ", ") + literal(c, value);
    return (c.op == "!=" ? "~" : "") + of + ".isin([" + list + "])";
  }

  std::string filter() const {
    std::string out;
    for (const auto& c : query_.conditions) out += "df = df[" + condition(c) + "]\n";
    if (!out.empty())
      out = "rows = len(df)\n" + out +
            "print(f\"{len(df)} of {rows} rows match.\\n\")\nif df.empty:\n    raise SystemExit\n";
    return out;
  }

  void print_table(const char* what = "table") {
    line("print(" + std::string(what) +
         ".head(50).astype(object).to_markdown(index=False, floatfmt=\"" + precision() + "\"))");
  }
  void print_long_table() {
    print_table();
    line("if len(table) > 50:\n    print(f\"… and {len(table) - 50} more\")");
  }

  // Four decimals, unless the numbers are too small for that.
  std::string precision() const {
    for (std::size_t i : query_.measures)
      if (column(i).largest && *column(i).largest > 0 && *column(i).largest < 0.01) return ".4g";
    return ".4f";
  }

  void begin_plot() {
    line("\nplt.rcParams[\"text.parse_math\"] = False  # a $ in a name is a dollar");
  }
  void save_plot() {
    line("plt.tight_layout()");
    line("plt.savefig(" + python_string("/work/" + slug(title()) + ".png") + ", dpi=120)");
  }

  // Bars or a line of the columns `ys` (Python list) of `table` over its column `x`.
  void plot_table(const std::string& kind, const std::string& x, const std::string& ys,
                  bool several) {
    begin_plot();
    line("shown = table.head(40)");
    line("shown.plot(kind=\"" + kind + "\", x=" + x + ", y=" + ys + ", figsize=(8, " +
         (several ? "7" : "4.5") + ")" +
         (several ? ", subplots=True, legend=False" : ", legend=False") +
         (kind == "line" ? ", marker=\"o\"" : "") +
         ", title=" + (several ? ys : python_string(title())) + ")");
    if (kind == "line") line("plt.xticks(rotation=45)");
    save_plot();
  }

  void body() {
    switch (query_.task) {
      case Task::Aggregate:
        return query_.groups.empty() ? totals() : aggregate();
      case Task::TopGroups:
        return aggregate();
      case Task::TopRows:
        return top_rows();
      case Task::Trend:
        return trend();
      case Task::Correlation:
        return correlation();
      case Task::Distribution:
        return distribution();
      case Task::Scatter:
        return scatter();
      case Task::Values:
        return values();
      case Task::Rows:
        return rows();
      case Task::Missing:
        line("table = df.isna().sum().rename(\"missing\").rename_axis(\"column\").reset_index()");
        return print_table();
      case Task::Summary:
        line("print(f\"{len(df)} rows, {df.shape[1]} columns\\n\")");
        line("table = df.describe(include=\"all\").T.rename_axis(\"column\").reset_index()");
        return line("print(table.to_markdown(index=False, floatfmt=\".4f\"))");
    }
  }

  void totals() {
    if (query_.aggregate == "count" && query_.measures.empty())
      return line("print(pd.DataFrame({\"rows\": [len(df)]}).to_markdown(index=False))");
    auto list = names(query_.measures);
    std::vector<std::string> kinds = {query_.aggregate};
    if (query_.aggregate.empty()) kinds = {"sum", "mean"};
    line("columns = " + list);
    std::string fields = "\"column\": columns";
    for (const auto& kind : kinds)
      if (kind != "count") fields += ", \"" + kind + "\": df[columns]." + kind + "().to_list()";
    line("table = pd.DataFrame({" + fields + ", \"rows\": df[columns].count().to_list()})");
    print_table();
  }

  // The aggregated columns by name: {"mean of tip": ("tip", "mean")}.
  std::vector<std::pair<std::string, std::pair<std::size_t, std::string>>> aggregates() const {
    std::vector<std::pair<std::string, std::pair<std::size_t, std::string>>> out;
    for (std::size_t i : query_.measures)
      for (const std::string& kind : query_.aggregate.empty()
                                         ? std::vector<std::string>{"sum", "mean"}
                                         : std::vector<std::string>{query_.aggregate})
        if (kind != "count") out.push_back({kind + " of " + column(i).name, {i, kind}});
    return out;
  }

  void aggregate() {
    auto made = aggregates();
    line("groups = df.groupby(" + names(query_.groups) + ", observed=True)");
    line("table = pd.DataFrame({");
    for (const auto& [label, from] : made)
      line("    " + python_string(label) + ": groups[" + name(from.first) + "]." + from.second +
           "(),");
    line("    \"rows\": groups.size(),");
    line("}).reset_index()");
    std::string by = made.empty() ? "\"rows\"" : python_string(made[0].first);
    bool top = query_.task == Task::TopGroups;
    bool ordered =
        query_.groups.size() == 1 && column(query_.groups[0]).kind == Kind::Number && !top;
    if (!ordered)
      line("table = table.sort_values(" + by +
           ", ascending=" + (query_.smallest ? "True" : "False") + ")");
    std::size_t n = query_.n != 0 ? query_.n : 1;
    bool which = top && query_.n == 0;
    if (which)
      line("print(\"" + std::string(query_.smallest ? "Lowest" : "Highest") +
           ": \" + \" / \".join(table[" + names(query_.groups) +
           "].iloc[0].astype(str)) + \"\\n\")");
    else if (top)
      line("table = table.head(" + std::to_string(n) + ")");
    print_long_table();
    plot_groups(made, by);
  }

  void plot_groups(
      const std::vector<std::pair<std::string, std::pair<std::size_t, std::string>>>& made,
      const std::string& by) {
    std::string x = name(query_.groups[0]);
    if (query_.groups.size() > 1) {
      line("table[\"group\"] = table[" + names(query_.groups) +
           "].astype(str).agg(\" / \".join, axis=1)");
      x = "\"group\"";
    }
    if (query_.chart == "pie") {
      begin_plot();
      line("table.set_index(" + x + ")[" + by +
           "].plot(kind=\"pie\", autopct=\"%.1f%%\", title=" + python_string(title()) + ")");
      return save_plot();
    }
    std::string ys = "[";
    for (const auto& [label, from] : made) ys += (ys.size() > 1 ? ", " : "") + python_string(label);
    ys += made.empty() ? "\"rows\"]" : "]";
    plot_table(query_.chart == "line" ? "line" : "bar", x, ys, made.size() > 1);
  }

  void top_rows() {
    line("table = df." + std::string(query_.smallest ? "nsmallest" : "nlargest") + "(" +
         std::to_string(query_.n) + ", " + name(query_.measures[0]) + ")");
    line("print(table.to_markdown(index=False))");
  }

  void trend() {
    auto made = aggregates();
    line("period = df[" + name(query_.date) + "].dt.to_period(\"" + std::string(1, query_.unit) +
         "\").rename(\"" + unit_name(query_.unit) + "\")");
    std::string unit = std::string("\"") + unit_name(query_.unit) + "\"";
    if (!query_.groups.empty()) return split_trend(unit);
    line("groups = df.groupby(period)");
    line("table = pd.DataFrame({");
    for (const auto& [label, from] : made)
      line("    " + python_string(label) + ": groups[" + name(from.first) + "]." + from.second +
           "(),");
    line("    \"rows\": groups.size(),\n}).reset_index()");
    line("table[" + unit + "] = table[" + unit + "].astype(str)");
    print_long_table();
    std::string ys = "[";
    for (const auto& [label, from] : made) ys += (ys.size() > 1 ? ", " : "") + python_string(label);
    ys += made.empty() ? "\"rows\"]" : "]";
    std::string first = made.empty() ? "\"rows\"" : python_string(made[0].first);
    line("ends = table[" + first + "].iloc[[0, -1]].to_list()");
    line("print(f\"\\nFrom {ends[0]:,.6g} in {table[" + quoted_in_f(unit) +
         "].iloc[0]} to {ends[1]:,.6g} in {table[" + quoted_in_f(unit) + "].iloc[-1]}.\")");
    line("table = table.tail(400)");
    begin_plot();
    line("table.plot(kind=\"" + std::string(query_.chart == "bar" ? "bar" : "line") +
         "\", x=" + unit + ", y=" + ys + ", figsize=(8, 4.5), " +
         (query_.chart == "bar" ? "" : "marker=\"o\", ") + "title=" + python_string(title()) + ")");
    line("plt.xticks(rotation=45)");
    save_plot();
  }

  static std::string quoted_in_f(const std::string& unit) {
    return "'" + unit.substr(1, unit.size() - 2) + "'";
  }

  void split_trend(const std::string& unit) {
    std::string value = query_.measures.empty()
                            ? ".size()"
                            : "[" + name(query_.measures[0]) + "]." + query_.aggregate + "()";
    line("table = df.groupby([period, " + name(query_.groups[0]) + "], observed=True)" + value +
         ".unstack()");
    line(
        "table = table[table.sum().sort_values(ascending=False).index[:12]]  # the twelve largest");
    line("table.index = table.index.astype(str)");
    line("print(table.head(60).reset_index().to_markdown(index=False, floatfmt=\"" + precision() +
         "\"))");
    begin_plot();
    line("table.plot(figsize=(8, 4.5), marker=\"o\", xlabel=" + unit +
         ", title=" + python_string(title()) + ")");
    line("plt.xticks(rotation=45)");
    save_plot();
  }

  void correlation() {
    if (query_.measures.size() == 2) {
      std::string a = name(query_.measures[0]), b = name(query_.measures[1]);
      line("pair = df[" + names(query_.measures) + "].astype(float).dropna()");
      line("table = pd.DataFrame({");
      line("    \"method\": [\"pearson\", \"spearman\"],");
      line("    \"correlation\": [pair.corr(m).iloc[0, 1] for m in (\"pearson\", \"spearman\")],");
      line("    \"rows\": len(pair),\n})");
      line("print(table.to_markdown(index=False, floatfmt=\".4f\"))");
      begin_plot();
      line("pair.plot(kind=\"scatter\", x=" + a + ", y=" + b +
           ", alpha=0.6, figsize=(7, 5), title=" + python_string(title()) + ")");
      return save_plot();
    }
    line(query_.measures.size() > 2
             ? "numbers = df[" + names(query_.measures) + "].astype(float)"
             : std::string("numbers = df.select_dtypes(\"number\").iloc[:, :30]"));
    line("table = numbers.corr()");
    if (query_.measures.size() == 1) {
      line("table = table[[" + name(query_.measures[0]) +
           "]].drop(index=" + name(query_.measures[0]) + ")");
      line("table = table.sort_values(" + name(query_.measures[0]) + ", ascending=False)");
    }
    line("print(table.to_markdown(floatfmt=\".4f\"))");
    if (query_.measures.size() == 1) return;
    begin_plot();
    line("plt.figure(figsize=(7, 6))");
    line("plt.imshow(table, cmap=\"coolwarm\", vmin=-1, vmax=1)");
    line("plt.xticks(range(len(table)), table.columns, rotation=45, ha=\"right\")");
    line("plt.yticks(range(len(table)), table.columns)");
    line("plt.colorbar(label=\"correlation\")");
    save_plot();
  }

  void distribution() {
    std::size_t i = query_.measures[0];
    if (column(i).kind != Kind::Number) return values();
    if (!query_.groups.empty()) {
      line("table = df.groupby(" + name(query_.groups[0]) + ", observed=True)[" + name(i) +
           "].describe().reset_index()");
      print_long_table();
      begin_plot();
      line("df.boxplot(column=" + name(i) + ", by=" + name(query_.groups[0]) +
           ", figsize=(8, 4.5))");
      line("plt.suptitle(\"\")\nplt.title(" + python_string(title()) + ")");
      return save_plot();
    }
    line("table = df[" + name(i) + "].describe().rename_axis(\"statistic\").reset_index()");
    print_table();
    begin_plot();
    if (query_.chart == "box")
      line("df[[" + name(i) +
           "]].plot(kind=\"box\", figsize=(8, 4.5), title=" + python_string(title()) + ")");
    else
      line("df[" + name(i) + "].plot(kind=\"hist\", bins=30, figsize=(8, 4.5), title=" +
           python_string(title()) + ")\n" + "plt.xlabel(" + name(i) + ")");
    save_plot();
  }

  void scatter() {
    bool line_chart = query_.chart == "line";
    std::string x = name(query_.groups[0]), y = name(query_.measures[0]);
    line("pair = df[[" + x + ", " + y + "]].dropna()" +
         (line_chart ? ".sort_values(" + x + ")" : ""));
    line("table = pair.describe().rename_axis(\"statistic\").reset_index()");
    print_table();
    line("print(f\"\\ncorrelation: {pair.astype(float).corr().iloc[0, 1]:.4f}\")");
    begin_plot();
    line("pair.plot(kind=\"" + std::string(line_chart ? "line" : "scatter") + "\", x=" + x +
         ", y=" + y + (line_chart ? "" : ", alpha=0.6") +
         ", figsize=(8, 5), title=" + python_string(title()) + ")");
    save_plot();
  }

  void values() {
    std::string of = name(query_.measures[0]);
    line("counts = df[" + of + "].value_counts(dropna=False)");
    line("table = pd.DataFrame({\"rows\": counts, \"percent\": 100 * counts / counts.sum()})");
    line("table = table.rename_axis(" + of + ").reset_index()");
    line("print(f\"{df[" + single(of) + "].nunique()} distinct values\\n\")");
    if (query_.n != 0 || query_.smallest)
      line("table = table." + std::string(query_.smallest ? "tail(" : "head(") +
           std::to_string(query_.n != 0 ? query_.n : 10) + ")");
    line("print(table.head(50).astype(object).to_markdown(index=False, floatfmt=\".2f\"))");
    line("if len(table) > 50:\n    print(f\"… and {len(table) - 50} more\")");
    begin_plot();
    line("shown = table.head(40)");
    std::string kind = query_.chart == "pie" ? "pie" : "bar";
    line("shown.set_index(" + of + ")[\"rows\"].plot(kind=\"" + kind +
         "\", figsize=(8, 4.5), title=" + python_string(title()) + ")");
    save_plot();
  }

  // Python before 3.12 allows no backslash and not the same quote inside an f-string's braces.
  std::string single(const std::string& quoted) {
    line("column = " + quoted);
    return "column";
  }

  void rows() {
    std::string of = query_.measures.empty() ? "df" : "df[" + names(query_.measures) + "]";
    std::size_t n = query_.n != 0 ? query_.n : 20;
    line("print(" + of + ".head(" + std::to_string(n) + ").to_markdown(index=False))");
    if (query_.n == 0) line("if len(df) > 20:\n    print(f\"… and {len(df) - 20} more\")");
  }

  const Query& query_;
  const DataTable& table_;
  std::string code_;
};

}  // namespace

std::string write_code(const Query& query, const DataTable& table) {
  return Writer(query, table).write();
}

}  // namespace jailrun::agent::offline
