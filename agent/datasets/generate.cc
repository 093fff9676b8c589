#include "agent/datasets/generate.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "agent/datasets/registry.h"
#include "agent/llm/json.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;

Expected<void> write_dataset(const std::string& dir, const MadeDataset& made) {
  std::error_code failed;
  fs::create_directories(fs::path(dir) / made.id, failed);
  OrderedJson files = OrderedJson::array();
  Dataset set;
  set.id = made.id;
  for (const TableWriter& table : made.tables) {
    const std::string path = dir + "/" + made.id + "/" + table.name();
    TRY_VOID(write_whole(path, table.csv()));
    files.push_back(table.entry(made.id));
    DatasetFile file;
    file.path = files.back()["path"].get<std::string>();
    file.source = path;
    set.files.push_back(std::move(file));
  }
  TRY(const std::string hash, version_hash(set));
  return write_entry(dir, {{"id", made.id},
                           {"name", made.name},
                           {"description", made.description},
                           {"as_of", made.as_of},
                           {"version_hash", hash},
                           {"prompts", made.prompts},
                           {"files", files}});
}

}  // namespace

Expected<void> write_whole(const std::string& path, const std::string& text) {
  const std::string made = path + ".new";
  const auto failed = [&] {
    return std::unexpected(
        sys_error(Stage::None, path, "cannot write " + path, "check the directory and its space"));
  };
  ::unlink(made.c_str());
  Fd file(::open(made.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file.valid()) return failed();
  if (const int error = write_all(file.get(), text.data(), text.size()); error != 0) {
    ::unlink(made.c_str());
    errno = error;
    return failed();
  }
  if (::fsync(file.get()) != 0 || ::rename(made.c_str(), path.c_str()) != 0) return failed();
  return {};
}

Expected<void> write_entry(const std::string& dir, const OrderedJson& entry) {
  std::error_code failed;
  fs::create_directories(dir, failed);
  const std::string path = dir + "/registry.json";
  OrderedJson registry = {{"datasets", OrderedJson::array()}};
  if (fs::exists(path)) {
    TRY_VOID(read_registry(path));  // what makes no sense is not written over
    std::ifstream file(path);
    registry = OrderedJson::parse(file, nullptr, false);
  }
  OrderedJson kept = OrderedJson::array();
  bool placed = false;
  for (const OrderedJson& each : registry["datasets"]) {
    const bool same = each["id"] == entry["id"];
    kept.push_back(same ? entry : each);
    placed = placed || same;
  }
  if (!placed) kept.push_back(entry);
  return write_whole(path, OrderedJson{{"datasets", kept}}.dump(
                               1, ' ', false, OrderedJson::error_handler_t::replace) +
                               "\n");
}

Expected<void> generate_datasets(const std::string& dir, const GenerateOptions& options) {
  for (const MadeDataset& made : make_datasets(options)) TRY_VOID(write_dataset(dir, made));
  return {};
}

}  // namespace jailrun::agent
