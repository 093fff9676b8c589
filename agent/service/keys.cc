#include "agent/service/keys.h"

#include <fcntl.h>
#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "agent/store/hex.h"
#include "jail/sys/fd.h"

namespace jailrun::service {
namespace {

using Json = nlohmann::ordered_json;
using store::hex;

std::string digest(const std::string& key) {
  sha256_ctx context;
  sha256_init(&context);
  sha256_update(&context, key.size(), reinterpret_cast<const std::uint8_t*>(key.data()));
  std::uint8_t out[SHA256_DIGEST_SIZE];
  sha256_digest(&context, sizeof out, out);
  return hex(out, sizeof out);
}

Error fault(const std::string& path, const std::string& what, int error = 0) {
  return Error{Stage::None, path, error, what, "`jailagent keys` makes and lists keys"};
}

}  // namespace

bool KeyRow::may(std::string_view scope) const {
  return scopes.empty() || std::ranges::find(scopes, scope) != scopes.end();
}

std::string_view scope_of(std::string_view method, std::string_view path) {
  if (path.starts_with("/v1/admin/") || path == "/metrics") return kScopes[2];
  return method == "GET" || method == "HEAD" ? kScopes[0] : kScopes[1];
}

// Without a stamp: what changed since they were read is seen by the first request.
KeyRing::KeyRing(Keys keys) : path_(keys.path()), keys_(std::move(keys)), needed_(!keys_.empty()) {}

KeyRing::Stamp KeyRing::stamp(const std::string& path) {
  struct stat st{};
  if (::stat(path.c_str(), &st) != 0) return {};
  return {st.st_ino, static_cast<std::uint64_t>(st.st_size),
          st.st_ctim.tv_sec * 1'000'000'000 + st.st_ctim.tv_nsec};
}

void KeyRing::refresh() {
  const Stamp now = stamp(path_);
  {
    const std::lock_guard lock(mutex_);
    if (now == stamp_) return;
  }
  // Nobody waits for the disk. Of two that read at once, the one with the older stamp may come
  // last: the next request sees that and reads again.
  Expected<Keys> read = Keys::read(path_);
  if (!read) spdlog::error("{}; nobody is let in", read.error().line());
  if (read) spdlog::info("keys are read again: {}", read->rows().size());
  const std::lock_guard lock(mutex_);
  needed_ = needed_ || !read || !read->empty();
  keys_ = read ? std::move(*read) : Keys(path_);
  stamp_ = now;
}

bool KeyRing::needed() {
  refresh();
  const std::lock_guard lock(mutex_);
  return needed_;
}

std::optional<KeyRow> KeyRing::find(const std::string& authorization) {
  refresh();
  const std::lock_guard lock(mutex_);
  return keys_.find(authorization);
}

Expected<Keys> Keys::read(const std::string& path) {
  Keys keys(path);
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.valid() && errno == ENOENT) return keys;
  struct stat st{};
  if (!file.valid() || ::fstat(file.get(), &st) != 0)
    return std::unexpected(fault(path, "cannot read the keys in " + path, errno));
  if (st.st_uid != ::geteuid() || (st.st_mode & 077) != 0)
    return std::unexpected(fault(path, path + " is not private to its user"));
  std::string text(static_cast<std::size_t>(st.st_size), '\0');
  if (::read(file.get(), text.data(), text.size()) != st.st_size)
    return std::unexpected(fault(path, "cannot read the keys in " + path, errno));
  const Json all = Json::parse(text, nullptr, false);
  const auto rows = all.is_object() ? all.find("keys") : all.end();
  if (!all.is_object() || rows == all.end() || !rows->is_array())
    return std::unexpected(fault(path, path + " holds no keys"));
  for (const Json& each : *rows) {
    if (!each.is_object()) return std::unexpected(fault(path, path + " holds no keys"));
    KeyRow row{each.value("id", ""), each.value("name", ""), each.value("sha256", ""),
               each.value("made_s", std::int64_t{0}), each.value("rate", 0.0)};
    if (const auto scopes = each.find("scopes"); scopes != each.end() && scopes->is_array())
      for (const Json& scope : *scopes)
        if (scope.is_string()) row.scopes.push_back(scope.get<std::string>());
    keys.rows_.push_back(std::move(row));
  }
  return keys;
}

std::optional<KeyRow> Keys::find(const std::string& authorization) const {
  constexpr std::string_view kScheme = "Bearer ";
  if (!authorization.starts_with(kScheme)) return std::nullopt;
  const std::string given = digest(authorization.substr(kScheme.size()));
  std::optional<KeyRow> found;
  for (const KeyRow& row : rows_)
    if (row.sha256.size() == given.size() &&
        memeql_sec(row.sha256.data(), given.data(), given.size()) != 0)
      found = row;
  return found;
}

Expected<std::string> Keys::add(const std::string& name, double rate,
                                std::vector<std::string> scopes) {
  std::uint8_t bytes[32 + 4];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
    return std::unexpected(fault(path_, "no random bytes", errno));
  std::string key = "jr_" + hex(bytes, 32);
  rows_.push_back(
      {hex(bytes + 32, 4), name, digest(key), std::time(nullptr), rate, std::move(scopes)});
  if (const Expected<void> kept = write(); !kept) {
    rows_.pop_back();
    return std::unexpected(kept.error());
  }
  return key;
}

Expected<bool> Keys::remove(const std::string& id) {
  if (std::erase_if(rows_, [&](const KeyRow& row) { return row.id == id; }) == 0) return false;
  TRY_VOID(write());
  return true;
}

Expected<void> Keys::write() const {
  Json rows = Json::array();
  for (const KeyRow& row : rows_) {
    Json one = {{"id", row.id}, {"name", row.name}, {"sha256", row.sha256}, {"made_s", row.made_s}};
    if (row.rate > 0) one["rate"] = row.rate;
    if (!row.scopes.empty()) one["scopes"] = row.scopes;
    rows.push_back(std::move(one));
  }
  const std::string text = Json{{"keys", rows}}.dump(1) + "\n", part = path_ + ".new";
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
  const Fd file(::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid() || write_all(file.get(), text.data(), text.size()) != 0 ||
      ::fsync(file.get()) != 0 || ::rename(part.c_str(), path_.c_str()) != 0)
    return std::unexpected(fault(path_, "cannot write the keys to " + path_, errno));
  return {};
}

}  // namespace jailrun::service
