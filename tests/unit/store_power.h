// A disk that may lose power: remembers of each file below a directory what fsync(2) has made
// certain, and makes images of what may be found after a cut. Whatever was not synced is there, or
// is not, or is there in parts: contents by sectors of 512 bytes, names one by one.
//
// It hears of the calls by standing in for the C library's; store_power_test.cc does that.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace jailrun::store {

class Disk {
 public:
  // `live`: an empty directory, which itself is certain.
  explicit Disk(std::string live, unsigned seed) : live_(std::move(live)), random_(seed) {
    struct stat st{};
    ::stat(live_.c_str(), &st);
    device_ = st.st_dev;
    names_[st.st_ino];
  }
  // Called before each call that changes or syncs anything.
  std::function<void()> tick;

  void wrote(int fd, std::uint64_t at, const void* data, std::size_t bytes) {
    if (File* const file = of(fd))
      file->pending.push_back({at, std::string(static_cast<const char*>(data), bytes), false});
  }
  void truncated(int fd, std::uint64_t size) {
    if (File* const file = of(fd)) file->pending.push_back({size, {}, true});
  }
  void synced(int fd) {
    struct stat st{};
    if (::fstat(fd, &st) != 0 || st.st_dev != device_) return;
    if (S_ISDIR(st.st_mode)) {
      names_[st.st_ino] = entries_of("/proc/self/fd/" + std::to_string(fd));
    } else if (const auto found = files_.find(st.st_ino); found != files_.end()) {
      for (const Write& write : found->second.pending) apply(write, found->second.certain);
      found->second.pending.clear();
    }
  }
  bool hears(int fd) const {
    struct stat st{};
    return ::fstat(fd, &st) == 0 && st.st_dev == device_ && !at_work_;
  }
  void before() {
    if (tick && !at_work_) tick();
  }
  // What may be found after a cut right now.
  void image(const std::string& to) {
    at_work_ = true;
    fate_ = static_cast<Fate>(random_() % 4);
    copy(live_, to);
    at_work_ = false;
  }

 private:
  struct Write {
    std::uint64_t at;
    std::string bytes;
    bool cuts;  // the file, at `at`
  };
  struct File {
    std::string certain;
    std::vector<Write> pending;
  };
  enum class Fate { AllLost, NoneLost, Torn, Mixed };

  File* of(int fd) {
    struct stat st{};
    return ::fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? &files_[st.st_ino] : nullptr;
  }
  static void apply(const Write& write, std::string& content) {
    if (write.cuts) return content.resize(write.at);
    if (content.size() < write.at + write.bytes.size())
      content.resize(write.at + write.bytes.size());
    content.replace(write.at, write.bytes.size(), write.bytes);
  }
  static std::map<std::string, ino_t> entries_of(const std::string& directory) {
    std::map<std::string, ino_t> entries;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      struct stat st{};
      if (::lstat(entry.path().c_str(), &st) == 0) entries[entry.path().filename()] = st.st_ino;
    }
    return entries;
  }
  bool coin() { return random_() % 2 == 0; }
  bool survives() { return fate_ == Fate::NoneLost || (fate_ != Fate::AllLost && coin()); }

  std::string found_of(const File& file) {
    std::string content = file.certain;
    // Torn: all up to a write, and a part of that one. Mixed: any of them, by sectors.
    const std::size_t whole = file.pending.empty() ? 0 : random_() % (file.pending.size() + 1);
    for (std::size_t i = 0; i < file.pending.size(); ++i) {
      const Write& write = file.pending[i];
      if (fate_ == Fate::NoneLost || (fate_ == Fate::Torn && i < whole)) apply(write, content);
      const bool in_parts = fate_ == Fate::Mixed || (fate_ == Fate::Torn && i == whole);
      if (in_parts && write.cuts && coin()) apply(write, content);
      for (std::size_t from = 0; in_parts && from < write.bytes.size();) {
        const std::size_t sector = 512 - (write.at + from) % 512;
        const std::string part = write.bytes.substr(from, sector);
        if (coin()) apply({write.at + from, part, false}, content);
        from += part.size();
      }
    }
    return content;
  }
  void put(ino_t inode, const std::string& to) {
    std::ofstream(to, std::ios::binary) << found_of(files_[inode]);
    ::chmod(to.c_str(), 0600);
  }
  void copy(const std::string& from, const std::string& to) {
    struct stat st{};
    ::stat(from.c_str(), &st);
    ::mkdir(to.c_str(), 0700);
    const auto certain = names_[st.st_ino];
    const auto now = entries_of(from);
    for (const auto& [name, inode] : now) {
      const auto known = certain.find(name);
      const bool is_certain = known != certain.end() && known->second == inode;
      // The index of a write-ahead log is in memory alone.
      if (name.ends_with("-shm") || (!is_certain && !survives())) continue;
      const std::string path = from + "/" + name;
      if (std::filesystem::is_directory(path)) {
        copy(path, to + "/" + name);
      } else {
        put(inode, to + "/" + name);
      }
    }
    // What was removed or renamed, and nobody has synced that.
    for (const auto& [name, inode] : certain)
      if (!now.contains(name) && files_.contains(inode) && coin() && fate_ != Fate::NoneLost)
        put(inode, to + "/" + name);
  }

  const std::string live_;
  std::mt19937 random_;
  dev_t device_ = 0;
  std::map<ino_t, File> files_;
  std::map<ino_t, std::map<std::string, ino_t>>
      names_;  // of each directory, those that are certain
  bool at_work_ = false;
  Fate fate_ = Fate::Mixed;
};

}  // namespace jailrun::store
