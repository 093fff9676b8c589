#include "agent/tools/host_files.h"

#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "agent/base/text.h"
#include "jail/sys/fd.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
constexpr std::size_t kShownRows = 15, kMostColumns = 100, kMostCell = 40, kHeadBytes = 256 << 10;

// Neither a link nor ".." leads out of `root`: the kernel sees to that, whatever happens meanwhile.
Fd open_below(int root, const std::string& name) {
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return Fd(static_cast<int>(syscall(SYS_openat2, root, name.c_str(), &how, sizeof how)));
}

bool leads_out(const std::string& name) {
  const fs::path path(name);
  return name.empty() || name.find('\0') != std::string::npos || path.is_absolute() ||
         std::find(path.begin(), path.end(), "..") != path.end();
}

using Row = std::vector<std::string>;

// One record of CSV; quotes may hold separators, line breaks and doubled quotes.
bool next_row(const std::string& text, std::size_t& at, Row& row) {
  row.clear();
  if (at >= text.size()) return false;
  std::string cell;
  bool quoted = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (quoted && c == '"' && at + 1 < text.size() && text[at + 1] == '"') {
      cell += c;
      ++at;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == ',' || c == '\n')) {
      row.push_back(std::move(cell));
      cell.clear();
      if (c == '\n') break;
    } else if (c != '\r') {
      cell += c;
    }
  }
  if (at >= text.size()) row.push_back(std::move(cell));
  ++at;
  return true;
}

class SafeFileAccess : public Tool {
 public:
  SafeFileAccess(std::string root, std::vector<Input>& handed)
      : Tool({"safe_file_access",
              "Reads a CSV file of the data directory and gives it to the sandbox. Returns its "
              "first 15 rows.",
              strings_schema({{"filename", "name of the CSV file"}})}),
        root_(std::move(root)),
        handed_(handed) {}

  Expected<ToolOutcome> call(const json& arguments, const ToolContext&) override {
    const auto name = arguments["filename"].get<std::string>();
    if (leads_out(name)) return misuse("Error: Invalid file path");
    if (!lower(name).ends_with(".csv")) return misuse("Error: The file is not a CSV file.");
    const Fd root(open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    const Fd file = open_below(root.get(), name);
    if (!file.valid() && errno == ENOENT) return not_found(name);
    if (!file.valid() && (errno == ELOOP || errno == EXDEV))
      return misuse("Error: Invalid file path");
    struct stat status{};
    if (!root.valid()) return not_found(name);
    if (!file.valid() || fstat(file.get(), &status) != 0)
      return misuse(std::string("Error while reading the CSV file: ") + std::strerror(errno));
    if (!S_ISREG(status.st_mode)) return misuse("Error: Invalid file path");

    std::string head(kHeadBytes, '\0');
    const ssize_t got = read(file.get(), head.data(), head.size());
    if (got < 0)
      return misuse(std::string("Error while reading the CSV file: ") + std::strerror(errno));
    head.resize(static_cast<std::size_t>(got));
    const auto base = fs::path(name).filename().string();
    handed_.push_back({(fs::absolute(root_) / name).string(), base});
    return ToolOutcome{
        "Copied " + printable(base) + " into sandbox:/data/.\n" + first_rows(head, kShownRows),
        false, false};
  }

 private:
  static ToolOutcome not_found(const std::string& name) {
    return misuse("Error: The file '" + printable(name) + "' was not found.");
  }

  std::string root_;
  std::vector<Input>& handed_;
};

}  // namespace

std::string first_rows(const std::string& csv, std::size_t rows) {
  std::vector<Row> shown;
  std::vector<std::size_t> widths;
  Row row;
  for (std::size_t at = 0; shown.size() <= rows && next_row(csv, at, row);) {
    if (row.size() > kMostColumns) row.resize(kMostColumns);
    for (std::size_t i = 0; i < row.size(); ++i) {
      auto text = printable(row[i]);
      std::replace(text.begin(), text.end(), '\n', ' ');
      row[i] = text.size() > kMostCell ? printable(text.substr(0, kMostCell)) + "…" : text;
      if (i >= widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], row[i].size());
    }
    shown.push_back(row);
  }
  std::string out;
  for (const auto& cells : shown) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i)
      line += std::string(widths[i] - cells[i].size(), ' ') + cells[i] + "  ";
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string default_data_root() {
  const char* chosen = std::getenv("JAIL_DATA_DIR");
  return chosen != nullptr && *chosen != '\0' ? chosen : "./resources/data";
}

std::unique_ptr<Tool> make_safe_file_access(std::string root, std::vector<Input>& handed) {
  return std::make_unique<SafeFileAccess>(std::move(root), handed);
}

}  // namespace jailrun::agent
