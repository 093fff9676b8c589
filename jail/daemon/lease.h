// JailLease: a jail in the hands of a client, until every process of it is gone and judged. Watches
// deadlines and limits; never reads what the guest writes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "jail/daemon/fair_queue.h"
#include "jail/daemon/narrow.h"
#include "jail/daemon/pool.h"
#include "jail/run/judge.h"

namespace jailrun {

struct InputFile {
  std::string name;
  Fd file;
};

class JailLease final : public JailHolder, public std::enable_shared_from_this<JailLease> {
 public:
  struct Terms {
    std::uint64_t id;
    Owner owner;
    LeaseLimits limits;
    bool narrowed = false;  // limits differ from the policy's
    bool wants_files = false;
  };
  // Called once: the Result, and the socket and pid of a walk of /work where there is one.
  struct Closing {
    Result result;
    Fd files;
    std::uint64_t work_device = 0;
  };
  using Done = std::function<void(std::uint64_t id, Closing closing)>;

  JailLease(asio::io_context& io, Loan loan, Terms terms);
  ~JailLease();
  JailLease(const JailLease&) = delete;
  JailLease& operator=(const JailLease&) = delete;

  // Gives the jail what the lease says: limits, files, packages (of open_packages()), and then what
  // its client has to say first. Error: then the jail is gone already.
  Expected<void> prepare(std::vector<InputFile> files, std::vector<Input> packages,
                         std::string_view first, std::vector<std::string>& warnings);
  WarmJail::Ends take_ends() { return loan_.jail->jail->take_ends(); }
  // From here on it is watched, and `done` is called when it is over.
  void start(Done done);

  // Of a session: copies of its ends, a signal to its guest, and the limit of one execution, which
  // is not the lease's. Blamed and then gone, the jail has died of it.
  Expected<WarmJail::Ends> copy_ends() const { return loan_.jail->jail->copy_ends(); }
  int answer_fd() const { return loan_.jail->jail->answer_fd(); }
  void signal(int number);
  void blame_wall(std::uint64_t wall_ns) { blamed_wall_ns_ = wall_ns; }
  void expire();

  void cancel(const std::string& why);
  void output_exceeded(const std::string& stream);

  const Terms& terms() const { return terms_; }
  bool parked() const { return loan_.parked; }
  bool live() const { return loan_.jail != nullptr; }
  bool ending() const { return !live() || killed_ns_ != 0; }
  std::uint64_t memory_bytes() const;  // the most it has had; 0 where it is gone
  const PooledJail& jail() const { return *loan_.jail; }
  const LiveWorld& world() const { return *loan_.world; }
  std::int64_t started_ns() const { return started_ns_; }
  // Nobody wants the Result any more: what is left of it ends by itself.
  void abandon() { done_ = nullptr; }

 private:
  void guest_ended() override;
  void gone() override;
  void lost(const Error& why) override;

  void kill();
  void arm();
  void check();
  Task watch_oom(std::shared_ptr<JailLease> self, std::shared_ptr<Watch> watch);
  void give_up();
  Closing settle(bool hangs = false);
  bool walk_work(Closing& closing);
  Task await_walk(std::shared_ptr<JailLease> self, int pid);
  void release();

  asio::io_context& io_;
  Loan loan_;
  const Terms terms_;
  Done done_;
  Evidence evidence_;
  asio::steady_timer timer_;
  std::shared_ptr<Watch> oom_watch_;
  std::uint64_t blamed_wall_ns_ = 0;
  std::int64_t started_ns_ = 0, ended_ns_ = 0, next_cpu_check_ns_ = 0, killed_ns_ = 0;
};

}  // namespace jailrun
