#include "agent/datasets/registry.h"

#include <fcntl.h>
#include <nettle/sha2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "agent/base/text.h"
#include "agent/llm/json.h"
#include "agent/llm/schema.h"
#include "agent/store/hex.h"
#include "jail/launch/parts.h"
#include "jail/plan/nearest.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr off_t kMostRegistryBytes = 16 << 20;
constexpr std::string_view kImage = "image:";

std::unexpected<Error> refuse(const std::string& object, const std::string& message,
                              const std::string& remedy) {
  return std::unexpected(Error{Stage::None, object, 0, printable(message), printable(remedy)});
}

const json& registry_schema() {
  static const json kSchema = json::parse(R"({
    "type": "object", "additionalProperties": false, "required": ["datasets"], "properties": {
      "datasets": {"type": "array", "maxItems": 1000, "items": {
        "type": "object", "additionalProperties": false, "required": ["id", "files", "version_hash"],
        "properties": {
          "id": {"type": "string", "maxLength": 64}, "name": {"type": "string", "maxLength": 200},
          "description": {"type": "string", "maxLength": 4000},
          "as_of": {"type": "string", "maxLength": 40}, "version_hash": {"type": "string"},
          "prompts": {"type": "array", "maxItems": 100, "items": {"type": "string", "maxLength": 1000}},
          "files": {"type": "array", "minItems": 1, "maxItems": 100, "items": {
            "type": "object", "additionalProperties": false, "required": ["name", "path"],
            "properties": {"name": {"type": "string", "maxLength": 100}, "path": {"type": "string"},
                           "schema": {"type": "object"},
                           "sample_rows": {"type": "array", "maxItems": 3,
                                           "items": {"type": "object"}}}}}}}}}})");
  return kSchema;
}

// Of file names and ids: what needs no quoting anywhere.
bool is_plain(const std::string& text) {
  return !text.empty() && text[0] != '.' && text[0] != '-' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-' || c == '.';
         });
}

Expected<std::string> read_text(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info{};
  if (!file.valid() || ::fstat(file.get(), &info) != 0)
    return std::unexpected(
        sys_error(Stage::None, path, "cannot read " + path, "check its permissions"));
  if (!S_ISREG(info.st_mode) || info.st_size > kMostRegistryBytes)
    return refuse(path, path + " is no file of at most 16 MiB", "is it the right one?");
  std::string text(static_cast<std::size_t>(info.st_size), '\0');
  const ssize_t got = ::pread(file.get(), text.data(), text.size(), 0);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

// Where a file of a registry lies. Links are followed first, so that what is compared is what will
// be read.
Expected<std::string> source_of(const std::string& registry, const std::string& path) {
  const bool of_image = path.starts_with(kImage);
  const fs::path root =
      of_image ? fs::path(image_path("python")) : fs::path(registry).parent_path();
  const fs::path below = fs::path(of_image ? path.substr(kImage.size()) : path).relative_path();
  const bool climbs = std::ranges::find(below, fs::path("..")) != below.end();
  if (below.empty() || climbs || (!of_image && path.starts_with('/')))
    return refuse(path, registry + ": path " + path + " does not lie below the registry",
                  "name a file beside it");
  std::error_code failed;
  const fs::path real = fs::weakly_canonical(root / below, failed);
  const fs::path home = fs::weakly_canonical(root, failed);
  const auto [end, rest] = std::ranges::mismatch(home, real);
  if (failed || end != home.end())
    return refuse(path, registry + ": path " + path + " leads out of the registry's directory",
                  "copy the file there");
  return real.string();
}

Expected<DatasetFile> read_file(const std::string& registry, const OrderedJson& from) {
  DatasetFile file;
  file.name = from["name"].get<std::string>();
  file.path = from["path"].get<std::string>();
  if (!is_plain(file.name))
    return refuse(file.name, registry + ": " + file.name + " is no name for a file",
                  "use letters, digits, '.', '_' and '-'");
  TRY(file.source, source_of(registry, file.path));
  if (const auto schema = from.find("schema"); schema != from.end())
    for (const auto& [column, type] : schema->items())
      file.schema.emplace_back(column, type.is_string() ? type.get<std::string>() : type.dump());
  const auto rows = from.find("sample_rows");
  file.sample_rows = rows != from.end() ? *rows : OrderedJson::array();
  return file;
}

std::string text_of(const OrderedJson& from, const char* name) {
  const auto found = from.find(name);
  return found == from.end() ? "" : found->get<std::string>();
}

Expected<Dataset> read_dataset(const std::string& registry, const OrderedJson& from) {
  Dataset set;
  set.registry = registry;
  set.id = text_of(from, "id");
  set.name = text_of(from, "name");
  set.description = text_of(from, "description");
  set.as_of = text_of(from, "as_of");
  set.version_hash = text_of(from, "version_hash");
  if (!is_plain(set.id))
    return refuse(set.id, registry + ": " + in_quotes(set.id) + " is no id of a data set",
                  "use letters, digits, '.', '_' and '-'");
  if (set.name.empty()) set.name = set.id;
  if (const auto prompts = from.find("prompts"); prompts != from.end())
    set.prompts = prompts->get<std::vector<std::string>>();
  std::set<std::string> names;
  for (const OrderedJson& each : from["files"]) {
    TRY(DatasetFile file, read_file(registry, each));
    if (!names.insert(file.name).second)
      return refuse(file.name, registry + ": data set " + set.id + " has two files " + file.name,
                    "name each its own");
    set.files.push_back(std::move(file));
  }
  return set;
}

std::string cannot_read(const Dataset& dataset, const DatasetFile& file) {
  return "cannot read " + file.path + " of data set " + dataset.id;
}
const char* remedy_of(const DatasetFile& file) {
  return file.path.starts_with(kImage) ? "`jailrun rootfs build` makes the image"
                                       : "check the path and its permissions";
}

Expected<Fd> open_file(const Dataset& dataset, const DatasetFile& file) {
  Fd opened(::open(file.source.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW));
  struct stat info{};
  const std::string what = cannot_read(dataset, file);
  if (!opened.valid() || ::fstat(opened.get(), &info) != 0)
    return std::unexpected(sys_error(Stage::None, file.path, what, remedy_of(file)));
  if (!S_ISREG(info.st_mode)) return refuse(file.path, what + ": it is no file", remedy_of(file));
  return opened;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string own_dataset_dir() { return state_dir() + "/datasets"; }

std::vector<std::string> dataset_dirs() {
  std::vector<std::string> dirs;
  std::string chosen = variable("JAILRUN_DATASETS");
  if (chosen.empty()) chosen = variable("DATASETS_DIR");
  for (std::size_t at = 0; at < chosen.size();) {
    const std::size_t end = std::min(chosen.find(':', at), chosen.size());
    if (end > at) dirs.push_back(chosen.substr(at, end - at));
    at = end + 1;
  }
  dirs.push_back(own_dataset_dir());
  dirs.emplace_back("/etc/jailrun/datasets");
  std::error_code failed;
  const fs::path program = fs::read_symlink("/proc/self/exe", failed);
  if (!failed)
    dirs.push_back((program.parent_path().parent_path() / "share/jailrun/datasets").string());
  dirs.emplace_back(JAILRUN_SOURCE_DIR "/agent/datasets/image");
  return dirs;
}

Expected<std::vector<Dataset>> read_registry(const std::string& path) {
  TRY(const std::string text, read_text(path));
  const json checked = parse_json(text);
  const std::string remedy = "correct it, or let `jailrun datasets add` write a new one";
  if (checked.is_discarded()) return refuse(path, path + " is no JSON", remedy);
  if (const auto fault = schema_fault(registry_schema(), checked, "it"); !fault.empty())
    return refuse(path, path + ": " + fault, remedy);
  const auto ordered = OrderedJson::parse(text, nullptr, false);  // columns in their order
  std::vector<Dataset> sets;
  for (const OrderedJson& each : ordered["datasets"]) {
    TRY(Dataset set, read_dataset(path, each));
    sets.push_back(std::move(set));
  }
  return sets;
}

Expected<DatasetRegistry> DatasetRegistry::load(const std::vector<std::string>& dirs) {
  DatasetRegistry registry;
  for (const std::string& dir : dirs) {
    const std::string path = fs::absolute(dir).lexically_normal() / "registry.json";
    if (::access(path.c_str(), F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR)) continue;
    TRY(auto sets, read_registry(path));
    for (Dataset& set : sets)
      if (registry.find(set.id) == nullptr) registry.datasets_.push_back(std::move(set));
  }
  return registry;
}

const Dataset* DatasetRegistry::find(const std::string& id) const {
  const auto found = std::ranges::find(datasets_, id, &Dataset::id);
  return found == datasets_.end() ? nullptr : &*found;
}

Expected<Dataset> DatasetRegistry::open(const std::string& id) const {
  const Dataset* set = find(id);
  if (set == nullptr) {
    std::vector<std::string> known;
    for (const Dataset& each : datasets_) known.push_back(each.id);
    return refuse(id, "no data set " + in_quotes(id),
                  did_you_mean(id, known, "`jailrun datasets ls` shows what there is"));
  }
  Dataset opened = *set;
  for (DatasetFile& file : opened.files) {
    TRY(Fd held, open_file(opened, file));
    file.held = std::make_shared<const Fd>(std::move(held));
  }
  TRY(const std::string hash, version_hash(opened));
  if (hash != opened.version_hash)
    return refuse(
        id,
        "the files of data set " + id + " are not those of its version hash in " + set->registry,
        "restore them, or register them anew");
  return opened;
}

Expected<std::string> version_hash(const Dataset& dataset) {
  std::vector<const DatasetFile*> files;
  for (const DatasetFile& file : dataset.files) files.push_back(&file);
  std::ranges::sort(files, {}, &DatasetFile::path);
  sha256_ctx context;
  sha256_init(&context);
  std::vector<std::uint8_t> block(1 << 18);
  for (const DatasetFile* file : files) {
    auto held = file->held;
    if (!held) {
      TRY(Fd opened, open_file(dataset, *file));
      held = std::make_shared<const Fd>(std::move(opened));
    }
    ssize_t n = 0;
    for (off_t at = 0; (n = ::pread(held->get(), block.data(), block.size(), at)) != 0;) {
      if (n < 0 && errno == EINTR) continue;
      if (n < 0)
        return std::unexpected(
            sys_error(Stage::None, file->path, cannot_read(dataset, *file), remedy_of(*file)));
      sha256_update(&context, static_cast<std::size_t>(n), block.data());
      at += n;
    }
  }
  std::uint8_t digest[SHA256_DIGEST_SIZE];
  sha256_digest(&context, sizeof digest, digest);
  return store::hex(digest, sizeof digest);
}

}  // namespace jailrun::agent
