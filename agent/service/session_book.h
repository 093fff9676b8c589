// SessionBook: the live sessions of the service's users, by owner and name. Each has a connection
// to jaild of its own and serves one request at a time; others wait for it, but not for ever.
//
// jaild keeps the sessions, under labels that say whose they are: a service that has been ended, or
// killed, finds them again when it starts.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "jail/session/session.h"

namespace jailrun::service {

class SessionBook {
 public:
  struct Options {
    std::string jaild = wire::socket_path();
    std::chrono::seconds idle{30 * 60};
    std::chrono::seconds patience{30};  // how long a request waits for one before it
    std::size_t most_of_owner = 32;
    std::string identity{};  // of this service among jaild's clients; the same at its next start
    // Told of each jail: how it was had, or "refused", and the seconds that it took.
    std::function<void(const std::string& start, double seconds)> started{};
  };
  explicit SessionBook(Options options) : options_(std::move(options)) {}

  struct Entry {
    std::timed_mutex busy;
    std::unique_ptr<Client> client;
    std::optional<Session> session;  // none: one of before, not attached yet
    std::string id, policy;
    Fd interrupt;  // eventfd: readable ends what it executes
    bool ended = false;
    std::chrono::steady_clock::time_point used = std::chrono::steady_clock::now();
  };
  // A session that somebody has for himself as long as this lives.
  class Held {
   public:
    Held(std::shared_ptr<Entry> entry, std::unique_lock<std::timed_mutex> lock)
        : entry_(std::move(entry)), lock_(std::move(lock)) {}
    ~Held() {
      if (lock_.owns_lock()) entry_->used = std::chrono::steady_clock::now();
    }
    Held(Held&&) = default;
    Held& operator=(Held&&) = default;
    Session& session() { return *entry_->session; }
    Entry& entry() { return *entry_; }

   private:
    std::shared_ptr<Entry> entry_;
    std::unique_lock<std::timed_mutex> lock_;
  };

  // Errors bear the HTTP status that they stand for in errno_value: 404, 409, 429, 503.
  enum class Life { Stays, OneRequest };
  // `name`: empty for one that names itself, as jaild does. Gives the name.
  Expected<std::string> create(const std::string& owner, const std::string& name,
                               LeaseRequest request, Life life = Life::Stays);
  Expected<Held> hold(const std::string& owner, const std::string& name);
  // A branch of a held one, under the name that jaild gives it.
  Expected<std::string> branch(const std::string& owner, Held& held,
                               std::optional<std::uint32_t> savepoint);
  // Interrupts what it executes, without waiting for it.
  bool interrupt(const std::string& owner, const std::string& name);
  bool remove(const std::string& owner, const std::string& name);
  struct Row {
    std::string name, policy;
    double idle_s;
  };
  std::vector<Row> list(const std::string& owner) const;
  std::size_t size() const;
  // Closes those that nobody has used for long, and forgets those that have ended.
  void sweep();
  // Finds what this service had when it ended; ends what was for one request. Once, at the start.
  Expected<std::size_t> recover();

 private:
  using Key = std::pair<std::string, std::string>;
  Expected<std::unique_ptr<Client>> connect() const;
  Expected<void> admit(const std::string& owner) const;
  std::string label(const std::string& owner, const std::string& name, Life life) const;
  Expected<void> attach(Entry& entry) const;
  // Of whoever has it for himself.
  void close(Entry& entry) const;

  const Options options_;
  mutable std::mutex mutex_;
  std::map<Key, std::shared_ptr<Entry>> entries_;
};

}  // namespace jailrun::service
