#include "agent/service/tables.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>

#include "agent/jails/jail_client.h"
#include "agent/service/questions.h"

namespace jailrun::service {
namespace {

using namespace jailrun::agent;

constexpr const char* kArrow = "application/vnd.apache.arrow.stream";
constexpr std::uint64_t kMostArrow = 64 << 20;

// Columns of one kind of value have its type; what is mixed, or larger than 64 bits, is text.
constexpr const char* kWriteArrow = R"(import json

import pyarrow as pa


def text(value):
    return value if value is None or isinstance(value, str) else json.dumps(value)


def column(values):
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([text(value) for value in values], pa.string())


with open("/data/table.json", encoding="utf-8") as file:
    told = json.load(file)
cells = zip(*told["rows"]) if told["rows"] else [[] for _ in told["columns"]]
columns = [column(list(values)) for values in cells]
table = pa.Table.from_arrays(columns, [text(name) for name in told["columns"]])
with pa.OSFile("/work/table.arrow", "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
    stream.write_table(table)
)";

// RFC 4180: what has a comma, a quote or a line's end is quoted.
std::string csv_cell(const Json& value) {
  if (value.is_null()) return {};
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

std::string csv_line(const Json& cells) {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) line += (i == 0 ? "" : ",") + csv_cell(cells[i]);
  return line + "\r\n";
}

std::string csv_of(const Json& table) {
  std::string all = csv_line(table["columns"]);
  for (const Json& row : table["rows"]) all += csv_line(row);
  return all;
}

Expected<std::string> arrow_of(const ServiceOptions& options, const Call& call, const Json& table) {
  const Scratch scratch;
  if (scratch.path().empty() || ::mkdir(scratch.out().c_str(), 0700) != 0)
    return std::unexpected(Error{Stage::None, "table", 503, "no room for files", ""});
  const std::string source = scratch.path() + "/table.json";
  std::ofstream(source) << Json{{"columns", table["columns"]}, {"rows", table["rows"]}}.dump(
      -1, ' ', false, Json::error_handler_t::replace);
  TRY(const std::string jailrun, find_jailrun());
  const Cancel cancel = Cancel::on_descriptor(call.http.gone);
  const JailClient client(jails_for(options, jailrun, true), {{source, "table.json"}}, cancel);
  TRY(const JailResult done,
      client.run(kWriteArrow, {}, scratch.out(), Clock::now() + std::chrono::minutes(1)));
  if (!done.ok())
    return std::unexpected(Error{Stage::None, kArrow, 0,
                                 "the table could not be written: " + done.reason,
                                 "ask for JSON or CSV"});
  return read_file_at(AT_FDCWD, (scratch.out() + "/table.arrow").c_str(), kMostArrow);
}

bool is_table(const Json& result) {
  const auto list = [&](const char* name) {
    const auto found = result.find(name);
    return found != result.end() && found->is_array();
  };
  return result.is_object() && list("columns") && list("rows");
}

}  // namespace

HttpReply reply_with_table(const ServiceOptions& options, const Call& call, const Json& result,
                           const Json& whole) {
  const std::string accept = call.http.header("accept");
  const auto csv = accept.find("text/csv"), arrow = accept.find(kArrow);
  HttpReply reply = json_reply(whole);
  if (accept.find("application/json") == std::string::npos && csv != arrow && is_table(result)) {
    reply.type = csv < arrow ? "text/csv; charset=utf-8; header=present" : kArrow;
    if (csv < arrow) {
      reply.body = csv_of(result);
    } else {
      auto stream = arrow_of(options, call, result);
      if (!stream) return reply_from(stream.error());
      reply.body = std::move(*stream);
    }
  }
  reply.headers.emplace_back("Vary", "Accept, Accept-Encoding");
  return reply;
}

}  // namespace jailrun::service
