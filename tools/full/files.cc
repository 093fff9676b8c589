// `jailrun files put|ls|get|info|rm|sweep`: the store of files between executions.
#include "tools/full/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "agent/store/file_store.h"
#include "agent/store/manifest.h"
#include "jail/sys/units.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

using Json = nlohmann::ordered_json;
using store::FileStore;
using store::StoredFile;

constexpr int kOurFailure = 125;

struct Asked {
  std::string owner, path, name, out;
  std::vector<std::string> ids;
  bool json = false, all = false;
};

int fail(const Error& error) {
  std::fprintf(stderr, "jailrun: %s\n", error.line().c_str());
  return kOurFailure;
}

// Whoever may read the store is its user; others are told apart by name, for services.
std::string own_owner() { return "uid:" + std::to_string(::geteuid()); }

Expected<FileStore> open_store() {
  TRY(store::StoreOptions options, store::StoreOptions::from_environment());
  TRY(const std::string root, FileStore::default_root());
  return FileStore::open(root, std::move(options));
}

std::string date(std::int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  char text[32] = "";
  if (::gmtime_r(&time, &parts) != nullptr)
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

Json json_of(const StoredFile& file) {
  Json row{
      {"file_id", file.id},      {"user_id", file.owner},  {"filename", file.name},
      {"file_size", file.bytes}, {"file_type", file.type}, {"media_type", file.media_type},
      {"kind", file.kind},       {"sha256", file.sha256},  {"uploaded_at", date(file.uploaded_s)}};
  row["expires_at"] = file.expires_s ? Json(date(*file.expires_s)) : Json(nullptr);
  return row;
}

void print(const Json& json) {
  std::printf("%s\n", json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
}

void print_line(const StoredFile& file) {
  std::printf("%s  %10s  %-10s  %-22s  %s\n", file.id.c_str(), format_bytes(file.bytes).c_str(),
              file.type.c_str(), file.expires_s ? date(*file.expires_s).c_str() : "never expires",
              file.name.c_str());
}

Expected<int> put(const Asked& asked) {
  TRY(FileStore files, open_store());
  Fd file;
  std::string name = asked.name;
  if (asked.path != "-") {
    TRY(OpenedInput opened, open_source({asked.path, asked.name}));
    file = std::move(opened.file);
    name = opened.name;
  } else if (name.empty()) {
    return std::unexpected(
        Error{Stage::None, "--name", 0, "standard input has no name", "give one with --name"});
  }
  const int source = file.valid() ? file.get() : STDIN_FILENO;
  TRY(const StoredFile stored, files.put(asked.owner, name, source));
  if (asked.json) {
    print(json_of(stored));
  } else {
    std::printf("%s\n", stored.id.c_str());
  }
  return 0;
}

Expected<int> list(const Asked& asked) {
  TRY(FileStore files, open_store());
  TRY(const std::vector<StoredFile> all, files.list(asked.owner));
  Json rows = Json::array();
  for (const StoredFile& file : all) {
    if (asked.json) rows.push_back(json_of(file));
    if (!asked.json) print_line(file);
  }
  if (asked.json) print(rows);
  return 0;
}

Expected<int> info(const Asked& asked) {
  TRY(FileStore files, open_store());
  TRY(const StoredFile file, files.info(asked.owner, asked.ids.front()));
  const Json row = json_of(file);
  if (asked.json) {
    print(row);
    return 0;
  }
  for (const auto& [key, value] : row.items())
    std::printf("%-12s %s\n", key.c_str(),
                value.is_string() ? value.get<std::string>().c_str()
                                  : (value.is_null() ? "never" : value.dump().c_str()));
  return 0;
}

Expected<int> get(const Asked& asked) {
  TRY(FileStore files, open_store());
  TRY(const store::Opened opened, files.get(asked.owner, asked.ids.front()));
  Fd file;
  if (!asked.out.empty()) {
    file = Fd(::open(asked.out.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!file.valid())
      return std::unexpected(
          sys_error(Stage::None, asked.out, "cannot write " + asked.out, "check the directory"));
  }
  const int target = file.valid() ? file.get() : STDOUT_FILENO;
  std::vector<char> buffer(1 << 18);
  for (;;) {
    const ssize_t n = ::read(opened.content.get(), buffer.data(), buffer.size());
    if (n == 0) return 0;
    if (n > 0) errno = write_all(target, buffer.data(), static_cast<std::size_t>(n));
    if (n < 0 || errno != 0)
      return std::unexpected(sys_error(Stage::None, opened.file.id, "cannot copy the file out",
                                       "make room on the disk, or read all of it"));
  }
}

Expected<int> remove(const Asked& asked) {
  TRY(FileStore files, open_store());
  if (asked.all) {
    TRY(const std::uint64_t count, files.remove_all(asked.owner));
    if (asked.json) print({{"deleted_files", count}});
    return 0;
  }
  if (asked.ids.empty())
    return std::unexpected(
        Error{Stage::None, "ID", 0, "no file to remove is named", "give ids, or --all"});
  std::uint64_t count = 0;
  for (const std::string& id : asked.ids) {
    TRY(const bool removed, files.remove(asked.owner, id));
    if (!removed)
      return std::unexpected(Error{Stage::None, id, ENOENT, "no stored file " + id,
                                   "`jailrun files ls` shows those that there are"});
    ++count;
  }
  if (asked.json) print({{"deleted_files", count}});
  return 0;
}

Expected<int> sweep(const Asked& asked) {
  TRY(FileStore files, open_store());
  TRY(const store::Swept swept, files.sweep());
  if (asked.json) {
    print({{"deleted_files", swept.expired}, {"deleted_blobs", swept.blobs}});
  } else {
    std::printf("%llu expired files, %llu contents\n",
                static_cast<unsigned long long>(swept.expired),
                static_cast<unsigned long long>(swept.blobs));
  }
  return 0;
}

}  // namespace

Expected<std::optional<OpenedInput>> StoredInputs::open(const std::string& text) {
  constexpr std::string_view kScheme = "store:";
  if (!text.starts_with(kScheme)) return std::nullopt;
  const std::string rest = text.substr(kScheme.size());
  const std::size_t colon = rest.find(':');
  const std::string id = rest.substr(0, colon);
  TRY(FileStore files, open_store());
  TRY(store::Opened opened, files.get(own_owner(), id));
  std::string name = colon == std::string::npos ? opened.file.name : rest.substr(colon + 1);
  TRY_VOID(store::check_name(name));
  names_.emplace_back(id, name);
  return OpenedInput{std::move(opened.content), std::move(name)};
}

Expected<std::optional<OpenedInput>> StoredInputs::manifest() const {
  if (names_.empty()) return std::nullopt;
  TRY(Fd file, store::open_manifest(names_));
  return OpenedInput{std::move(file), store::kManifestName};
}

void add_files(CLI::App& app, int& status) {
  const auto asked = std::make_shared<Asked>();
  asked->owner = own_owner();
  CLI::App* files = app.add_subcommand(
      "files",
      "Files that stay between executions: stored for two days, given to jails by their ids");
  files->require_subcommand(1);
  files->footer(
      "Environment:\n"
      "  JAILRUN_STORE          where the store is (default: /var/lib/jailrun/files for root,\n"
      "                         ~/.local/state/jailrun/files for others)\n"
      "  FILE_EXPIRATION_HOURS  how long files stay (default: 48; -1: for ever)\n"
      "  MAX_FILES_PER_USER     one more drops the oldest (default: 20)");
  const auto add = [&](const char* name, const char* text, Expected<int> (*act)(const Asked&)) {
    CLI::App* verb = files->add_subcommand(name, text);
    verb->add_option("--owner", asked->owner, "whose files")
        ->capture_default_str()
        ->type_name("NAME");
    verb->add_flag("--json", asked->json, "as JSON");
    verb->callback([asked, &status, act] {
      const Expected<int> done = act(*asked);
      status = done ? *done : fail(done.error());
    });
    return verb;
  };
  const auto add_id = [asked](CLI::App* verb) {
    return verb->add_option("ID", asked->ids, "as `files put` printed it");
  };
  CLI::App* in = add("put", "Store a file of at most 50 MiB; prints its id", put);
  in->add_option("FILE", asked->path, "its path; - reads standard input")
      ->required()
      ->type_name("PATH");
  in->add_option("--name", asked->name, "what it is called (default: its own name)")
      ->type_name("NAME");
  add("ls", "Those that are there, newest first", list);
  CLI::App* out = add("get", "Copy one out", get);
  add_id(out)->required()->expected(1);
  out->add_option("-o,--output", asked->out, "where to; default: stdout")->type_name("FILE");
  add_id(add("info", "What is known of one", info))->required()->expected(1);
  CLI::App* gone = add("rm", "Remove some, or all", remove);
  CLI::Option* ids = add_id(gone);
  gone->add_flag("--all", asked->all, "all of the owner's")->excludes(ids);
  add("sweep", "Remove what has expired and what killed writers left; for a timer", sweep);
}

}  // namespace jailrun::full
