#include "jail/spec/python.h"

namespace jailrun {
namespace {

namespace pb = google::protobuf;

using Texts = pb::RepeatedPtrField<std::string>;

bool all_of(std::string_view text, std::string_view more) {
  return std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           more.find(c) != std::string_view::npos;
  });
}

bool is_import(std::string_view text) {
  if (text.starts_with("from ")) {
    const std::size_t import = text.find(" import ");
    return import != std::string_view::npos && import > 5 && all_of(text, "_., ") &&
           text.size() > import + 8;
  }
  return text.starts_with("import ") && text.size() > 7 && all_of(text, "_., ") &&
         text.find(',') == std::string_view::npos;
}

bool is_pattern(std::string_view text) { return !text.empty() && all_of(text, "_.*?"); }
bool is_module(std::string_view text) { return !text.empty() && all_of(text, "_."); }

struct Kind {
  bool (*fits)(std::string_view);
  const char* what;
  const char* remedy;
};
constexpr Kind kImport = {is_import, " is no import statement",
                          "write \"import numpy as np\" or \"from pathlib import Path\""};
constexpr Kind kModule = {is_module, " is no name of a module", "write it as import does: \"os\""};
constexpr Kind kPattern = {is_pattern, " is no dotted name or pattern",
                           "write \"eval\", \"os.system\" or \"to_*\""};

std::vector<std::string> read(Reader& reader, const Scope& scope, const char* field,
                              const Texts& written, const Kind& kind) {
  constexpr int kMost = 200;
  std::vector<std::string> texts(written.begin(), written.end());
  for (int i = 0; i < written.size(); ++i) {
    if (!kind.fits(written[i]))
      reader.fault(scope, field, in_quotes(written[i]) + kind.what, kind.remedy, i);
  }
  if (written.size() > kMost) {
    reader.fault(scope, field, std::to_string(written.size()) + " entries",
                 "keep at most 200; a pattern stands for many", kMost);
  }
  return texts;
}

// Of the default image, tried: none starts a thread when it is imported, for which a fork would
// have no use. Any other would be found out only when the interpreter fails to start.
// statsmodels.api and polars do.
const std::vector<std::string> kEarly = {"Bio",      "altair",  "duckdb",  "fractions", "networkx",
                                         "openpyxl", "plotly",  "pyarrow", "scipy",     "seaborn",
                                         "sklearn",  "sqlite3", "sympy",   "tabulate",  "zoneinfo"};

void check_preload(Reader& reader, const Scope& scope, const std::vector<std::string>& modules) {
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const std::string top = modules[i].substr(0, modules[i].find('.'));
    if (!is_module(modules[i]) || std::ranges::find(kEarly, top) != kEarly.end()) continue;
    std::string known;
    for (const std::string& each : kEarly) known += (known.empty() ? "" : ", ") + each;
    reader.fault(scope, "preload",
                 in_quotes(top) + " is no module that can be imported before the fork",
                 did_you_mean(top, kEarly, "those that can: " + known), static_cast<int>(i));
  }
}

// Only what passed the kinds above: nothing in it has to be escaped.
class Json {
 public:
  void text(const char* name, const std::string& value) { begin(name) += '"' + value + '"'; }
  void number(const char* name, std::uint64_t value) { begin(name) += std::to_string(value); }
  void list(const char* name, const std::vector<std::string>& values) {
    if (values.empty()) return;
    std::string all;
    for (const std::string& each : values) all += (all.empty() ? "\"" : ",\"") + each + '"';
    begin(name) += '[' + all + ']';
  }
  void object(const char* name, const std::string& object) { begin(name) += object; }
  bool empty() const { return text_.empty(); }
  std::string take() { return '{' + text_ + '}'; }

 private:
  std::string& begin(const char* name) {
    if (!text_.empty()) text_ += ',';
    return text_.append(1, '"').append(name).append("\":");
  }
  std::string text_;
};

}  // namespace

SpecPython read_python(Reader& reader, const Scope& scope, const policy::Python& in) {
  SpecPython out;
  out.preload = read(reader, scope, "preload", in.preload(), kModule);
  check_preload(reader, scope, out.preload);
  out.imports = read(reader, scope, "imports", in.imports(), kImport);
  out.language = in.language() == policy::Python::SQL ? CodeLanguage::Sql : CodeLanguage::Python;
  const Scope inside = scope.inside("code");
  const policy::CodeRules& code = in.code();
  out.code.only_imports = read(reader, inside, "only_imports", code.only_imports(), kModule);
  out.code.refused_imports =
      read(reader, inside, "refused_imports", code.refused_imports(), kPattern);
  out.code.refused_calls = read(reader, inside, "refused_calls", code.refused_calls(), kPattern);
  out.code.refused_attributes =
      read(reader, inside, "refused_attributes", code.refused_attributes(), kPattern);
  if (code.has_bytes()) reader.bytes(inside, "bytes", code.bytes(), out.code.bytes);
  out.code.warn = code.warn();
  return out;
}

std::string python_for_guest(const Spec& spec) {
  const SpecPython& python = spec.python;
  if (python == SpecPython{}) return "";
  Json code;
  code.list("only_imports", python.code.only_imports);
  code.list("imports", python.code.refused_imports);
  code.list("calls", python.code.refused_calls);
  code.list("attributes", python.code.refused_attributes);
  if (python.code.bytes.get() > 0) code.number("bytes", python.code.bytes.get());
  if (python.code.warn) code.number("warn", 1);
  Json all;
  all.text("policy", spec.name);
  all.list("preload", python.preload);
  all.list("imports", python.imports);
  if (python.language == CodeLanguage::Sql) all.text("language", "sql");
  if (!code.empty()) all.object("code", code.take());
  return all.take();
}

}  // namespace jailrun
