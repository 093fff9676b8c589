// WarmJail: one jail from a World, from an empty slot to its end.
//
//     begin ─▶ Building ─▶ Joining ─▶ Parked ─▶ (lease) ─▶ ended ─▶ settle
//
// Each arrow but the last two is one call of advance() when control_fd() is readable: nothing here
// blocks, so that one thread drives hundreds of them. A jail serves one lease and is destroyed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "jail/child/orders.h"
#include "jail/confine/inputs.h"
#include "jail/launch/parts.h"
#include "jail/launch/timeline.h"
#include "jail/pool/world.h"
#include "jail/run/judge.h"
#include "jail/run/result.h"

namespace jailrun {

// Puts the beginning of what a client has to say into a request pipe. Never waits: an error where
// the pipe does not take all of it.
Expected<void> put_first(int request_fd, std::string_view bytes);

class WarmJail {
 public:
  enum class State : std::uint8_t {
    Building,  // the keeper builds the slot: namespaces, mounts, init
    Joining,   // the zygote's child joins it, gives up every right, touches its pages
    Parked,    // attested; blocked on a read of its request
  };

  // The owner's half of the guest's descriptors, handed to the client whole.
  struct Ends {
    Fd request;       // write: one Request frame (jail/run/frames.h)
    Fd answer;        // read: one AnswerFrame; end of file: the guest is gone
    Fd in, out, err;  // write, read, read

    Expected<Ends> copy() const;
  };

  // Takes a uid, makes cgroup and pipes, orders a slot.
  // `hurry`: somebody waits for it. `fail_at`: fault tests.
  static Expected<std::unique_ptr<WarmJail>> begin(World& world, bool hurry = false,
                                                   Stage fail_at = Stage::None);
  ~WarmJail();  // kills what lives, waits for its end, removes the cgroup
  WarmJail(const WarmJail&) = delete;
  WarmJail& operator=(const WarmJail&) = delete;

  State state() const { return state_; }
  // Readable: call advance(). Another descriptor in each state; -1 once Parked. A child that hangs
  // never becomes readable: give it a deadline.
  int control_fd() const { return awaits_init_ ? init_control_.get() : control_.get(); }
  Expected<State> advance();

  // --- while Parked ---------------------------------------------------------------------------
  // False: its guest has died since, whether or not its end was noted. One system call.
  bool waits() const;
  // Limits that may change late; 0 leaves one as it is. The caller's copy of the Plan for settle()
  // is its own.
  struct Late {
    std::uint64_t memory_bytes = 0;
    std::uint32_t pids = 0, cpu_millis = 0;
  };
  Expected<void> limit(const Late& late);
  // Shows files below /data. Each Input comes from open_input_fd().
  Expected<void> attach(const std::vector<Input>& inputs);
  // Tells the guest that a request is to come (kRequestComes of jail/run/frames.h).
  void announce_request();
  Expected<void> put_request(std::string_view bytes) {
    return put_first(ends_.request.get(), bytes);
  }
  Ends take_ends() { return std::move(ends_); }
  int answer_fd() const { return ends_.answer.get(); }
  // Like take_ends(), and keeps its own.
  Expected<Ends> copy_ends() const { return ends_.copy(); }
  // Call at the lease: from here on oom_event() (an eventfd, or -1) tells of an out-of-memory.
  void watch_oom() { cgroup_->watch_oom(); }

  // --- while leased ---------------------------------------------------------------------------
  Cgroup& cgroup() { return *cgroup_; }
  void kill();              // every process; their end comes as events of the World
  void signal(int number);  // to the guest itself, if it still is one of this jail
  // For each event of the World. True when it is the end of this jail's last process; events of
  // other jails change nothing.
  bool note(const Ended& ended);
  bool guest_ended() const { return guest_reaped_; }  // then kill() what it left
  // Init ends when everything else in its pid namespace has.
  bool gone() const { return init_ended_ && (guest_reaped_ || guest_pid_ == 0); }

  // As settle() would judge it now: of a jail that does not die, as a process of it hangs in the
  // kernel. Its cgroup stays.
  Result settle_early(const Plan& plan, Evidence& evidence);

  // --- once gone() ----------------------------------------------------------------------------
  // Adds the kernel's evidence to `evidence`, judges, and gives the Result (without the streams,
  // which only the client sees). Removes the cgroup; work() stays for collection.
  // `plan` is the World's, with the limits of the lease.
  Result settle(const Plan& plan, Evidence& evidence);
  const Fd& work() const { return held_[0]; }

  std::uint32_t host_uid() const { return host_uid_; }
  pid_t init_pid() const { return init_pid_; }    // as the keeper sees it; 0 before it is known
  pid_t guest_pid() const { return guest_pid_; }  // likewise
  pid_t guest_host_pid() const { return guest_host_pid_; }
  void mark(Stage stage);
  std::vector<TimelineEntry> timeline() const;

 private:
  struct Unmap {
    void operator()(child::Reports* page) const;
  };
  WarmJail(World& world, bool hurry, Stage fail_at)
      : world_(world), hurry_(hurry), fail_at_(fail_at) {}
  Expected<void> reach(Stage stage);
  Expected<void> make_pipes();
  Expected<void> order_slot();
  Expected<void> order_child();
  Error ended_early() const;
  Expected<void> hear_ready();
  Expected<void> admit();
  Posture posture() const;
  World& world_;
  bool hurry_;
  Stage fail_at_;
  State state_ = State::Building;
  std::uint32_t host_uid_ = 0;
  std::optional<Cgroup> cgroup_;
  Fd control_, init_control_;
  bool said_ready_ = false, awaits_init_ = false;
  Fd reports_fd_;
  std::unique_ptr<child::Reports, Unmap> reports_;
  std::array<std::int64_t, kStageCount> marks_{};  // of the owner's own stages
  std::int64_t begin_ns_ = 0;
  Ends ends_;
  Fd their_request_, their_answer_, their_in_, their_out_, their_err_;
  HeldMounts held_;
  Fd init_pidfd_;
  pid_t init_host_pid_ = 0;
  bool killed_ = false;
  pid_t init_pid_ = 0, guest_pid_ = 0, guest_host_pid_ = 0;
  bool guest_ended_ = false, guest_reaped_ = false, init_ended_ = false;
  int guest_status_ = 0;
};

}  // namespace jailrun
