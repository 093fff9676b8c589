// A store of its own for a test, with a clock that the test turns.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include "agent/store/file_store.h"

namespace jailrun::store {

class StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    // In memory: a test that kills cares for the order of calls, not for how long a disk takes.
    std::string name = std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp";
    name += "/jailrun-store-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    scratch_ = name;
    root_ = scratch_ + "/files";
    options_.now = [this] { return clock_; };
  }
  void TearDown() override { std::filesystem::remove_all(scratch_); }

  FileStore open() const {
    Expected<FileStore> store = FileStore::open(root_, options_);
    if (!store) {
      ADD_FAILURE() << store.error().line();
      std::abort();
    }
    return std::move(*store);
  }

  // A file without a name, at its beginning.
  static Fd content(const std::string& text) {
    Fd file(::memfd_create("content", MFD_CLOEXEC));
    EXPECT_EQ(write_all(file.get(), text.data(), text.size()), 0);
    ::lseek(file.get(), 0, SEEK_SET);
    return file;
  }
  static Expected<StoredFile> put(FileStore& store, const std::string& owner,
                                  const std::string& name, const std::string& text) {
    return store.put(owner, name, content(text).get());
  }
  static std::string read(const Fd& file) {
    std::string text;
    char buffer[65536];
    ssize_t n = 0;
    while ((n = ::read(file.get(), buffer, sizeof buffer)) > 0)
      text.append(buffer, static_cast<std::size_t>(n));
    return text;
  }
  // Contents and incoming files.
  std::size_t blobs() const {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(root_ + "/blobs"))
      ++count;
    return count;
  }
  static std::vector<StoredFile> listed(FileStore& store, const std::string& owner) {
    return store.list(owner).value();
  }
  static std::vector<std::string> names(FileStore& store, const std::string& owner) {
    std::vector<std::string> all;
    for (const StoredFile& file : listed(store, owner)) all.push_back(file.name);
    return all;
  }

  std::string scratch_, root_;
  StoreOptions options_;
  std::int64_t clock_ = 1'700'000'000;
};

}  // namespace jailrun::store
