#include "agent/service/session_book.h"

#include <sys/eventfd.h>

#include <algorithm>

namespace jailrun::service {
namespace {

constexpr int kBadRequest = 400, kNotFound = 404, kConflict = 409, kTooMany = 429,
              kUnavailable = 503;

Error with_status(int status, const std::string& what, const std::string& remedy) {
  return Error{Stage::None, "session", status, what, remedy};
}

// What jaild says, as the HTTP status that it stands for.
Error unavailable(const Error& error) {
  const bool busy = error.message.find("QueueFull") != std::string::npos ||
                    error.message.find("DeadlineExceeded") != std::string::npos ||
                    error.message.find("TooMany") != std::string::npos;
  const bool unknown = error.message.find("UnknownPolicy") != std::string::npos;
  const bool wrong = error.message.find("PackageUnavailable") != std::string::npos ||
                     error.message.find("BadFile") != std::string::npos ||
                     error.message.find("NotNarrower") != std::string::npos;
  const bool gone = error.message.find("NoSuchSession") != std::string::npos;
  const bool taken = error.message.find("SessionBusy") != std::string::npos;
  return with_status(busy              ? kTooMany
                     : unknown || gone ? kNotFound
                     : taken           ? kConflict
                     : wrong           ? kBadRequest
                                       : kUnavailable,
                     error.message, error.remedy);
}

}  // namespace

// By lines: the service's own; the owner's; the name, which may have lines of its own. Without a
// name it is jaild's, and without an owner the session was for one request.
std::string SessionBook::label(const std::string& owner, const std::string& name, Life life) const {
  std::string text = "jailagent " + options_.identity;
  if (life == Life::OneRequest) return text;
  text += "\n" + owner;
  return name.empty() ? text : text + "\n" + name;
}

Expected<std::size_t> SessionBook::recover() {
  TRY(const auto client, connect());
  TRY(const auto all, client->sessions());
  const std::string ours = label("", "", Life::OneRequest);
  std::size_t found = 0;
  for (const SessionInfo& info : all) {
    if (!info.label.starts_with(ours)) continue;
    std::string_view rest = std::string_view(info.label).substr(ours.size());
    if (rest.empty()) {
      (void)client->close_session(info.session);
      continue;
    }
    if (rest[0] != '\n') continue;  // another service, whose identity begins like ours
    rest.remove_prefix(1);
    const std::size_t end = rest.find('\n');
    const auto entry = std::make_shared<Entry>();
    entry->id = info.session;
    entry->policy = info.policy;
    entry->used -= std::chrono::nanoseconds(info.idle_ns);
    const std::lock_guard lock(mutex_);
    entries_[{std::string(rest.substr(0, end)),
              end == std::string_view::npos ? info.session : std::string(rest.substr(end + 1))}] =
        entry;
    ++found;
  }
  return found;
}

Expected<void> SessionBook::attach(Entry& entry) const {
  if (entry.session) return {};
  TRY(auto client, connect());
  Expected<Session> session = Session::attach(*client, entry.id);
  if (!session) {
    const Error error = unavailable(session.error());
    entry.ended = error.errno_value == kNotFound;
    return std::unexpected(error);
  }
  entry.client = std::move(client);
  entry.session.emplace(std::move(*session));
  entry.interrupt = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  return {};
}

void SessionBook::close(Entry& entry) const {
  if (!entry.ended && !entry.session) (void)attach(entry);
  if (!entry.ended && entry.session) (void)entry.session->close();
  entry.ended = true;
}

Expected<std::unique_ptr<Client>> SessionBook::connect() const {
  Expected<Client> client = Client::connect(options_.jaild);
  if (!client) return std::unexpected(unavailable(client.error()));
  return std::make_unique<Client>(std::move(*client));
}

Expected<void> SessionBook::admit(const std::string& owner) const {
  const auto count =
      std::ranges::count_if(entries_, [&](const auto& each) { return each.first.first == owner; });
  if (static_cast<std::size_t>(count) < options_.most_of_owner) return {};
  return std::unexpected(with_status(kTooMany, "too many sessions", "close some of them first"));
}

Expected<std::string> SessionBook::create(const std::string& owner, const std::string& name,
                                          LeaseRequest request, Life life) {
  const auto entry = std::make_shared<Entry>();
  std::unique_lock made(entry->busy);  // whoever finds it waits until it is there
  {
    const std::lock_guard lock(mutex_);
    if (!name.empty() && entries_.contains({owner, name}))
      return std::unexpected(with_status(kConflict, "there is such a session already", ""));
    TRY_VOID(admit(owner));
    if (!name.empty()) entries_[{owner, name}] = entry;
  }
  const auto give_up = [&](const Error& error) {
    const std::lock_guard lock(mutex_);
    entry->ended = true;
    if (!name.empty()) entries_.erase({owner, name});
    return std::unexpected(error);
  };
  Expected<std::unique_ptr<Client>> client = connect();
  if (!client) return give_up(client.error());
  entry->policy = request.policy;
  request.label = label(owner, name, life);
  const auto begun = std::chrono::steady_clock::now();
  Expected<Session> session = Session::create(**client, std::move(request));
  if (options_.started) {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    options_.started(session ? session->start() : "refused", took.count());
  }
  if (!session) return give_up(unavailable(session.error()));
  entry->client = std::move(*client);
  entry->session.emplace(std::move(*session));
  entry->id = entry->session->id();
  entry->interrupt = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!name.empty()) return name;
  const std::lock_guard lock(mutex_);
  entries_[{owner, entry->id}] = entry;
  return entry->id;
}

Expected<SessionBook::Held> SessionBook::hold(const std::string& owner, const std::string& name) {
  std::shared_ptr<Entry> entry;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find({owner, name});
    if (found != entries_.end()) entry = found->second;
  }
  const Error none = with_status(kNotFound, "there is no session " + name, "");
  if (!entry) return std::unexpected(none);
  std::unique_lock lock(entry->busy, options_.patience);
  if (!lock.owns_lock()) {
    return std::unexpected(with_status(kConflict, "the session executes something else",
                                       "wait for it, or interrupt it"));
  }
  if (entry->ended) return std::unexpected(none);
  TRY_VOID(attach(*entry));
  (void)!::eventfd_read(entry->interrupt.get(), nullptr);  // meant for what was before
  return Held(std::move(entry), std::move(lock));
}

Expected<std::string> SessionBook::branch(const std::string& owner, Held& held,
                                          std::optional<std::uint32_t> savepoint) {
  {
    const std::lock_guard lock(mutex_);
    TRY_VOID(admit(owner));
  }
  const auto entry = std::make_shared<Entry>();
  {
    Expected<Session> made = held.session().branch(savepoint, label(owner, "", Life::Stays));
    if (!made) return std::unexpected(with_status(kConflict, made.error().message, ""));
    entry->id = made->id();
  }  // let go: it gets a connection of its own
  entry->policy = held.entry().policy;
  TRY_VOID(attach(*entry));
  const std::lock_guard lock(mutex_);
  entries_[{owner, entry->id}] = entry;
  return entry->id;
}

bool SessionBook::interrupt(const std::string& owner, const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find({owner, name});
  if (found == entries_.end()) return false;
  (void)!::eventfd_write(found->second->interrupt.get(), 1);
  return true;
}

bool SessionBook::remove(const std::string& owner, const std::string& name) {
  std::shared_ptr<Entry> entry;
  {
    const std::lock_guard lock(mutex_);
    auto node = entries_.extract({owner, name});
    if (node.empty()) return false;
    entry = std::move(node.mapped());
  }
  (void)!::eventfd_write(entry->interrupt.get(), 1);
  const std::lock_guard lock(entry->busy);
  close(*entry);
  return true;
}

std::vector<SessionBook::Row> SessionBook::list(const std::string& owner) const {
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  std::vector<Row> rows;
  for (const auto& [key, entry] : entries_)
    if (key.first == owner)
      rows.push_back(
          {key.second, entry->policy, std::chrono::duration<double>(now - entry->used).count()});
  return rows;
}

std::size_t SessionBook::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

void SessionBook::sweep() {
  const auto now = std::chrono::steady_clock::now();
  std::vector<std::shared_ptr<Entry>> old;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(entries_, [&](auto& each) {
      const std::unique_lock free(each.second->busy, std::try_to_lock);
      if (!free.owns_lock() || (!each.second->ended && now - each.second->used < options_.idle))
        return false;
      old.push_back(each.second);
      return true;
    });
  }
  for (const auto& entry : old) {
    const std::lock_guard lock(entry->busy);
    close(*entry);
  }
}

}  // namespace jailrun::service
