// jailrun_zygote: what zygote.py cannot do itself. Loaded by the image's own Python (stable ABI),
// so it asks nothing of the image but libc: the steps are jail/child's.
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <sys/prctl.h>

#include <bit>
#include <csignal>

#include <cstring>

#include "jail/child/orders.h"
#include "jail/child/raw.h"
#include "jail/child/steps.h"
#include "jail/run/frames.h"  // its numbers only
#include "jail/zygote/heap.h"

namespace {

using namespace jailrun;
using child::ptr;
using child::sys;

// The order socket, out of the way of the guest's pipes (0 to 4) and its control (5).
constexpr int kOrders = 200, kFirstFree = 6;
constexpr long kEintr = 4;

const child::WarmPlan* plan;
child::Reports* reports;
Stage fail_at;  // of the latest order

struct Order {
  int fds[child::kMaxOrderFds];
  unsigned count;
  Stage fail_at;
  bool hurry;
};

// Moves the socket and the plan from where the keeper put them and occupies the numbers below.
bool settle() {
  if (sys(SYS_dup3, child::kKeeperSocket, kOrders, 02000000) < 0) return false;
  const long null = sys(SYS_open, ptr("/dev/null"), 2 | 02000000);
  for (int fd = child::kKeeperSocket; fd < kFirstFree; ++fd) {
    if (fd != null && sys(SYS_dup3, null, fd, 02000000) < 0) return false;
  }
  return true;
}

// False: the owner wants no more children, or is gone.
bool receive(Order& order) {
  child::ChildOrder text;
  child::Part part{&text, sizeof text};
  child::Rights rights{.length = 0, .fds = {}};
  child::Message message{.parts = &part, .control = &rights, .control_length = sizeof rights};
  long n = 0;
  do {
    message.control_length = sizeof rights;
    n = sys(SYS_recvmsg, kOrders, ptr(&message), 0x40000000 /* MSG_CMSG_CLOEXEC */);
  } while (n == -kEintr);
  if (n <= 0) return false;
  order.count =
      message.control_length < child::Rights::kHead
          ? 0
          : static_cast<unsigned>((rights.length - child::Rights::kHead) / sizeof(std::int32_t));
  for (unsigned i = 0; i < order.count; ++i) order.fds[i] = rights.fds[i];
  order.fail_at = fail_at = text.fail_at;
  order.hurry = text.hurry;
  return true;
}

std::int32_t* tid_address() {
  std::int32_t* address = nullptr;
  // libc registered it for this thread; the child's copy must hold the child's own id.
  return sys(SYS_prctl, PR_GET_TID_ADDRESS, ptr(&address)) == 0 ? address : nullptr;
}

PyObject* next_child(PyObject*, PyObject*) {
  std::int32_t* tid = tid_address();
  Order order;
  while (receive(order)) {
    long pid = -1;
    if (order.count >= child::kChildTasks) {
      PyOS_BeforeFork();
      pid = child::fork_guest({plan, order.fds, order.count, tid, order.fail_at}, reports);
      if (pid == 0) {
        PyOS_AfterFork_Child();
        return PyLong_FromLong(order.hurry ? 1 : 0);
      }
      PyOS_AfterFork_Parent();
    }
    if (pid < 0 && order.count > child::kChildReports) {
      child::Report failed{};
      failed.error_stage = static_cast<std::uint32_t>(Stage::Spawn);
      failed.error_errno = static_cast<std::int32_t>(-pid);
      sys(SYS_pwrite64, order.fds[child::kChildReports], ptr(&failed), sizeof failed,
          static_cast<long>(offsetof(child::Reports, guest)));
    }
    for (unsigned i = 0; i < order.count; ++i) sys(SYS_close, order.fds[i]);
  }
  return PyLong_FromLong(-1);
}

PyObject* ready(PyObject*, PyObject* text) {
  Py_ssize_t size = 0;
  const char* bytes = PyUnicode_AsUTF8AndSize(text, &size);
  if (bytes == nullptr) return nullptr;
  if (sys(SYS_write, kOrders, ptr(bytes), size) < 0) {
    PyErr_SetString(PyExc_OSError, "the owner is gone");
    return nullptr;
  }
  Py_RETURN_NONE;
}

void mask_interrupts(long how) {
  const unsigned long set = 1UL << (SIGINT - 1);
  sys(SYS_rt_sigprocmask, how, ptr(&set), 0, sizeof set);
}

// From here until a request says who serves it, SIGINT waits: an interrupt may follow upon the
// heels of a session's beginning.
PyObject* park(PyObject*, PyObject*) {
  mask_interrupts(SIG_BLOCK);
  if (!child::await_attestation(reports, fail_at)) sys(SYS_exit_group, 1);
  Py_RETURN_NONE;
}

// All of `size` bytes; false: the other side has closed.
bool read_all(int fd, char* to, long size) {
  while (size > 0) {
    const long n = sys(SYS_read, fd, ptr(to), size);
    if (n == -kEintr) continue;
    if (n <= 0) return false;
    to += n;
    size -= n;
  }
  return true;
}

std::uint32_t number_at(const char* at) {
  std::uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

PyObject* no_request() {
  PyErr_SetString(PyExc_ValueError, "not a request");
  return nullptr;
}

// (received, argv, script) of a whole frame without its first two numbers. Everything in it comes
// from the client whose script runs here: it is checked so that a mistake is named.
PyObject* parse_request(const char* at, const char* end, std::int64_t received) {
  std::uint32_t count = number_at(at);
  at += 4;
  PyObject* argv = PyList_New(0);
  for (; argv != nullptr && count > 0; --count) {
    const std::uint32_t length = end - at < 4 ? ~0U : number_at(at);
    if (length > end - at - 4) {
      Py_DECREF(argv);
      return no_request();
    }
    PyObject* text = PyUnicode_DecodeFSDefaultAndSize(at + 4, static_cast<Py_ssize_t>(length));
    const bool kept = text != nullptr && PyList_Append(argv, text) == 0;
    Py_XDECREF(text);
    if (!kept) Py_CLEAR(argv);
    at += 4 + length;
  }
  if (argv == nullptr) return nullptr;
  mask_interrupts(SIG_UNBLOCK);
  return Py_BuildValue("(LNy#)", static_cast<long long>(received), argv, at,
                       static_cast<Py_ssize_t>(end - at));
}

constexpr long kNoticeSize = sizeof kRequestComes;

// Native, because what runs between a parked jail's wake-up and its first bytecode is waited for.
PyObject* receive_request(PyObject*, PyObject* number) {
  const auto fd = static_cast<int>(PyLong_AsLong(number));
  char first[4096];
  long n = 0;
  do {
    n = sys(SYS_read, fd, ptr(first), sizeof first);
  } while (n == -kEintr);
  const std::int64_t received = child::now_ns();
  constexpr long kHeader = 12, kHello = 8;  // magic, size, count; of a session, magic and 0
  if (n == kNoticeSize && number_at(first) == kRequestComes) Py_RETURN_TRUE;
  if (n > kNoticeSize &&
      number_at(first) == kRequestComes) {  // a request is there: no time to lose
    n -= kNoticeSize;
    std::memmove(first, first + kNoticeSize, static_cast<std::size_t>(n));
  }
  if (n > 0 && n < kHello) n = read_all(fd, first + n, kHello - n) ? kHello : 0;
  if (n >= kHello && number_at(first) != kSessionMagic && n < kHeader)
    n = read_all(fd, first + n, kHeader - n) ? kHeader : 0;
  if (n <= 0) Py_RETURN_NONE;
  const std::uint32_t size = number_at(first + 4);
  if (number_at(first) == kSessionMagic && size == 0)
    return PyBytes_FromStringAndSize(first + kHello, n - kHello);
  if (number_at(first) != kRequestMagic || size < 4 || size > kMaxRequestBytes) return no_request();
  if (size + 8L <= n) {
    sys(SYS_close, fd);
    return parse_request(first + 8, first + 8 + size, received);
  }
  PyObject* whole = PyBytes_FromStringAndSize(nullptr, size);
  if (whole == nullptr) return nullptr;
  char* bytes = PyBytes_AsString(whole);
  std::memcpy(bytes, first + 8, static_cast<std::size_t>(n - 8));
  PyObject* request = Py_None;
  if (read_all(fd, bytes + n - 8, size - (n - 8))) {
    sys(SYS_close, fd);
    request = parse_request(bytes, bytes + size, received);
  } else {
    Py_INCREF(request);
  }
  Py_DECREF(whole);
  return request;
}

PyObject* adopt_orphans(PyObject*, PyObject*) {
  if (const long error = sys(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); error < 0) {
    PyErr_Format(PyExc_OSError, "prctl: error %ld", -error);
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* freeze(PyObject*, PyObject*) {
  char text[256];
  jailrun::zygote::freeze_heap(text, sizeof text);
  return PyUnicode_FromString(text);
}

PyObject* immortalize(PyObject*, PyObject* list) {
  std::size_t done = 0;
  for (Py_ssize_t i = 0, n = PyList_Size(list); i < n; ++i) {
    void* const object = PyList_GetItem(list, i);
    done += jailrun::zygote::immortalize(&object, 1);
  }
  return PyErr_Occurred() != nullptr ? nullptr : PyLong_FromSize_t(done);
}

PyMethodDef methods[] = {
    {"ready", ready, METH_O, "Tell the owner that imports are done; TEXT is one line of account."},
    {"next_child", next_child, METH_NOARGS,
     "Fork as ordered. In a child, which is confined, 0, or 1 if somebody waits for it; -1 in the "
     "zygote when it is to end."},
    {"park", park, METH_NOARGS, "In a child: wait until the owner has attested it."},
    {"receive", receive_request, METH_O,
     "(nanoseconds, argv, script) of the request on FD, which is then closed; True where the owner "
     "says that one is to come soon; None when its writer is gone; bytes, what was read behind it, "
     "where a session begins."},
    {"adopt_orphans", adopt_orphans, METH_NOARGS,
     "Become the parent of descendants whose parents have ended."},
    {"immortalize", immortalize, METH_O, "Let no child write the reference counts of LIST."},
    {"freeze_heap", freeze, METH_NOARGS, "Make this process cheap to fork; says what was done."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "jailrun_zygote",
                          nullptr,
                          -1,
                          methods,
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_jailrun_zygote() {
  const long mapped = sys(SYS_mmap, 0, sizeof(child::WarmPlan), 1 /* PROT_READ */,
                          1 /* MAP_SHARED */, child::kKeeperPlan, 0);
  if (mapped < 0 || !settle()) {
    PyErr_SetString(PyExc_OSError, "not started by jailrun-spawner");
    return nullptr;
  }
  plan = std::bit_cast<const child::WarmPlan*>(mapped);
  return PyModule_Create(&definition);
}
