#include "jail/zygote/heap.h"

#include <bit>
#include <cstdint>
#include <initializer_list>

#include "jail/child/raw.h"

namespace jailrun::zygote {
namespace {

using child::ptr;
using child::sys;

// As in <fcntl.h>, <sys/mman.h>; named here because nothing of libc is called: its errno lies in
// memory that is being replaced.
constexpr long kOpenRead = 02000000;  // O_RDONLY | O_CLOEXEC
constexpr long kRead = 1, kWrite = 2, kExec = 4;
constexpr long kShared = 1, kPrivate = 2, kFixed = 16, kAnonymous = 32;
constexpr long kMemfdCloexec = 1, kMemfdSealable = 2, kMemfdNoExec = 8;  // the last: Linux 6.3
constexpr long kAddSeals = 1033, kAllSeals = 1 | 2 | 4 | 8;  // seal, shrink, grow, write
constexpr long kCollapse = 25;                               // MADV_COLLAPSE, Linux 6.1
constexpr std::uint64_t kPage = 4096, kHuge = 2 << 20;
// A hole of this size or more stays anonymous: in the image it would be memory, or, if left out,
// would be allocated by the first child that touches it and charged to that child's cgroup.
constexpr std::uint64_t kHole = 64;

struct Mapping {
  std::uint64_t begin, end, offset, device, inode;
  long protection;
  bool is_private;
  bool special;  // stays as it is
};

// Memory that moves, in address order; ends up at `offset` of the image.
struct Run {
  std::uint64_t begin, end, offset;
  long protection;
};

// Shared, and so neither moved nor copied.
struct Scratch {
  char text[8 << 20];
  Mapping mappings[8192];
  Run runs[8192];
  std::uint64_t pages[1 << 19];  // of /proc/self/pagemap: a mapping of up to 2 GiB
  std::size_t mapping_count, run_count, merged;
  std::uint64_t bytes, image_bytes, huge;
};

std::uint64_t number(const char*& at, unsigned base) {
  std::uint64_t value = 0;
  for (;; ++at) {
    const char c = *at;
    const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                           : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a') + 10
                                                  : 99;
    if (digit >= base) return value;
    value = value * base + digit;
  }
}

bool starts(const char* text, const char* with) {
  while (*with != '\0' && *text == *with) ++text, ++with;
  return *with == '\0';
}

const char* line_end(const char* at) {
  while (*at != '\n' && *at != '\0') ++at;
  return *at == '\n' ? at + 1 : at;
}

// Memory with a promise that a mapping of the image would not keep: above all `wf` and `dp`, the
// state of libc's random numbers (vDSO getrandom), which a fork has to find wiped. Without that
// every child would draw the same "random" bytes.
bool promises(const char* flags) {
  for (const char* flag :
       {"wf", "dp", "dc", "lo", "io", "pf", "ht", "um", "uw", "sl", "gd", "ss"}) {
    for (const char* at = flags; *at != '\n' && *at != '\0'; ++at) {
      if (at[0] == flag[0] && at[1] == flag[1] && at[-1] == ' ') return true;
    }
  }
  return false;
}

// The first line that /proc/self/smaps has of a mapping; leaves `at` behind it.
Mapping parse(const char*& at) {
  Mapping m{};
  m.begin = number(at, 16);
  m.end = number(++at, 16);
  ++at;
  m.protection =
      (at[0] == 'r' ? kRead : 0) | (at[1] == 'w' ? kWrite : 0) | (at[2] == 'x' ? kExec : 0);
  m.is_private = at[3] == 'p';
  at += 5;
  m.offset = number(at, 16);
  m.device = number(++at, 16) << 32;
  m.device |= number(++at, 16);
  m.inode = number(++at, 10);
  while (*at == ' ') ++at;
  m.special = *at == '[' && !starts(at, "[heap]") && !starts(at, "[anon");
  at = line_end(at);
  return m;
}

bool read_maps(Scratch& s) {
  const long fd = sys(SYS_open, ptr("/proc/self/smaps"), kOpenRead);
  if (fd < 0) return false;
  std::size_t size = 0;
  long n = 0;
  while ((n = sys(SYS_read, fd, ptr(s.text + size), static_cast<long>(sizeof s.text - size))) > 0) {
    size += static_cast<std::size_t>(n);
  }
  sys(SYS_close, fd);
  if (n < 0 || size + 1 >= sizeof s.text) return false;
  for (const char* at = s.text; *at != '\0';) {
    if (*at >= 'A' && *at <= 'Z') {  // a property of the mapping above
      if (s.mapping_count > 0 && starts(at, "VmFlags: ") && promises(at + 9)) {
        s.mappings[s.mapping_count - 1].special = true;
      }
      at = line_end(at);
      continue;
    }
    if (s.mapping_count == sizeof s.mappings / sizeof s.mappings[0]) return false;
    s.mappings[s.mapping_count++] = parse(at);
  }
  return true;
}

bool continues(const Mapping& a, const Mapping& b) {
  return a.is_private && b.is_private && a.inode != 0 && a.inode == b.inode &&
         a.device == b.device && a.end == b.begin && a.offset + (a.end - a.begin) == b.offset;
}

// In memory, and not a page of the file.
bool present(std::uint64_t page) { return page >> 63 != 0; }
bool written(std::uint64_t page) { return present(page) && (page >> 61 & 1) == 0; }

// What the kernel says of each page of a mapping, into s.pages; false where it does not fit there.
bool read_pages(Scratch& s, long pagemap, const Mapping& m) {
  const std::uint64_t count = (m.end - m.begin) / kPage;
  if (count > sizeof s.pages / sizeof s.pages[0]) return false;
  const long size = static_cast<long>(count * 8);
  return sys(SYS_pread64, pagemap, ptr(s.pages), size, static_cast<long>(m.begin / kPage * 8)) ==
         size;
}

bool any_written(const Scratch& s, const Mapping& m) {
  for (std::uint64_t i = 0; i < (m.end - m.begin) / kPage; ++i) {
    if (written(s.pages[i])) return true;
  }
  return false;
}

// A library's headers and constants lie before and behind its code in the same file: with the
// same protection the kernel makes one mapping of the three. Readable becomes executable, which
// takes nothing from a guest that is native code already. But not constants that were relocated:
// they move, for with a written page in it each fork would copy the mapping of the code.
void merge_text(Scratch& s, long pagemap) {
  for (std::size_t i = 0; i < s.mapping_count; ++i) {
    Mapping& m = s.mappings[i];
    if (m.protection != kRead || m.inode == 0) continue;
    const auto code = [&](std::size_t j) { return s.mappings[j].protection == (kRead | kExec); };
    const bool before = i > 0 && code(i - 1) && continues(s.mappings[i - 1], m);
    const bool behind = i + 1 < s.mapping_count && code(i + 1) && continues(m, s.mappings[i + 1]);
    if ((!before && !behind) || !read_pages(s, pagemap, m) || any_written(s, m)) continue;
    if (sys(SYS_mprotect, static_cast<long>(m.begin), static_cast<long>(m.end - m.begin),
            kRead | kExec) == 0) {
      m.protection = kRead | kExec;
      ++s.merged;
    }
  }
}

bool add(Scratch& s, std::uint64_t begin, std::uint64_t end, long protection) {
  if (s.run_count == sizeof s.runs / sizeof s.runs[0]) return false;
  s.runs[s.run_count++] = {begin, end, 0, protection};
  return true;
}

// Chooses what moves: private memory that was written, without its larger holes.
bool choose(Scratch& s, long pagemap) {
  for (std::size_t i = 0; i < s.mapping_count; ++i) {
    const Mapping& m = s.mappings[i];
    if (!m.is_private || m.special || (m.protection & kRead) == 0) continue;
    const std::uint64_t count = (m.end - m.begin) / kPage;
    if ((m.protection & kExec) != 0 || count > sizeof s.pages / sizeof s.pages[0]) continue;
    if (!read_pages(s, pagemap, m)) return false;
    if (!any_written(s, m)) continue;
    // A library's relocated constants become writable, so that they and its data are one mapping.
    if (m.inode != 0) {
      if (!add(s, m.begin, m.end, kRead | kWrite)) return false;
      continue;
    }
    for (std::uint64_t j = 0; j < count;) {
      std::uint64_t first = j;
      while (first < count && !present(s.pages[first])) ++first;
      if (first == count) break;
      std::uint64_t end = first;
      for (std::uint64_t k = first; k < count && k - end < kHole; ++k) {
        if (present(s.pages[k])) end = k + 1;
      }
      if (first - j < kHole) first = j;
      if (count - end < kHole) end = count;
      if (!add(s, m.begin + first * kPage, m.begin + end * kPage, m.protection)) return false;
      j = end;
    }
  }
  return true;
}

// Neighbours in memory stay neighbours in the image, and so become one mapping. Where a huge page
// fits, address and offset agree modulo its size, as the kernel wants it.
void place(Scratch& s) {
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < s.run_count;) {
    std::size_t last = i;
    while (last + 1 < s.run_count && s.runs[last + 1].begin == s.runs[last].end) ++last;
    const std::uint64_t begin = s.runs[i].begin, end = s.runs[last].end;
    if ((begin + kHuge - 1) / kHuge * kHuge + kHuge <= end) {
      offset += (begin % kHuge + kHuge - offset % kHuge) % kHuge;
    }
    for (; i <= last; ++i) {
      s.runs[i].offset = offset;
      offset += s.runs[i].end - s.runs[i].begin;
      s.bytes += s.runs[i].end - s.runs[i].begin;
    }
  }
  s.image_bytes = offset;
}

// Each run is copied and replaced at once: nothing writes to it in between, for this function
// lives on the stack and in registers. Kept as it is where a step fails, and so always whole.
long move(const Scratch& s, long image) {
  for (std::size_t i = 0; i < s.run_count; ++i) {
    const Run& run = s.runs[i];
    const long size = static_cast<long>(run.end - run.begin);
    const long offset = static_cast<long>(run.offset), begin = static_cast<long>(run.begin);
    for (long done = 0; done < size;) {
      const long n = sys(SYS_pwrite64, image, begin + done, size - done, offset + done);
      if (n <= 0) return n == 0 ? -5 : n;
      done += n;
    }
    const long at = sys(SYS_mmap, begin, size, run.protection, kPrivate | kFixed, image, offset);
    if (at < 0) return at;
  }
  return 0;
}

// Huge pages all over. Where a run has room for one, a child that only reads maps 2 MiB with one
// fault; elsewhere they are still in one piece, which is mapped, copied and given back together.
void collapse(Scratch& s, long image) {
  const long size = static_cast<long>(s.image_bytes);
  const long room = sys(SYS_mmap, 0, size + static_cast<long>(kHuge), 0, kPrivate | kAnonymous, -1);
  if (room < 0) return;
  const long base =
      (room + static_cast<long>(kHuge) - 1) / static_cast<long>(kHuge) * static_cast<long>(kHuge);
  if (sys(SYS_mmap, base, size, kRead | kWrite, kShared | kFixed, image, 0) >= 0) {
    for (std::uint64_t at = 0; at + kHuge <= s.image_bytes; at += kHuge) {
      if (sys(SYS_madvise, base + static_cast<long>(at), static_cast<long>(kHuge), kCollapse) ==
          0) {
        ++s.huge;
      }
    }
  }
  sys(SYS_munmap, room, size + static_cast<long>(kHuge));
}

struct Account {
  char* at;
  char* end;
  Account& operator<<(const char* text) {
    while (*text != '\0' && at < end) *at++ = *text++;
    *at = '\0';
    return *this;
  }
  Account& operator<<(std::uint64_t value) {
    char digits[24];
    char* first = digits + sizeof digits - 1;
    *first = '\0';
    do {
      *--first = static_cast<char>('0' + value % 10);
    } while ((value /= 10) != 0);
    return *this << first;
  }
};

// Zero, or -errno with the step that failed.
long freeze(Scratch& s, const char*& step) {
  step = "reading /proc/self/smaps";
  if (!read_maps(s)) return -5;
  step = "opening /proc/self/pagemap";
  const long pagemap = sys(SYS_open, ptr("/proc/self/pagemap"), kOpenRead);
  if (pagemap < 0) return pagemap;
  merge_text(s, pagemap);
  step = "reading /proc/self/pagemap";
  const bool chosen = choose(s, pagemap);
  sys(SYS_close, pagemap);
  if (!chosen) return -5;
  place(s);
  step = "making the image";
  constexpr long kFlags = kMemfdCloexec | kMemfdSealable;
  long image = sys(SYS_memfd_create, ptr("jailrun-heap"), kFlags | kMemfdNoExec);
  if (image == -22) image = sys(SYS_memfd_create, ptr("jailrun-heap"), kFlags);
  if (image < 0) return image;
  step = "moving memory into the image";
  long failed = sys(SYS_ftruncate, image, static_cast<long>(s.image_bytes));
  if (failed >= 0) failed = move(s, image);
  if (failed >= 0) {
    collapse(s, image);
    // No child may change what the others start from.
    step = "sealing the image";
    failed = sys(SYS_fcntl, image, kAddSeals, kAllSeals);
  }
  sys(SYS_close, image);
  return failed;
}

}  // namespace

void freeze_heap(char* account, std::size_t size) {
  if (size == 0) return;
  Account text{account, account + size - 1};
  text << "";
  const long room = sys(SYS_mmap, 0, sizeof(Scratch), kRead | kWrite, kShared | kAnonymous, -1);
  if (room < 0) {
    text << "heap as it is: no memory";
    return;
  }
  auto& s = *std::bit_cast<Scratch*>(room);
  const char* step = "";
  const long failed = freeze(s, step);
  if (failed < 0) {
    text << "heap as it is: " << step << ": errno " << static_cast<std::uint64_t>(-failed);
  } else {
    text << s.bytes / (1 << 20) << " MiB in the heap image, " << s.huge << " huge pages, "
         << s.run_count << " runs; " << s.mapping_count << " mappings before, " << s.merged
         << " merged with code";
  }
  sys(SYS_munmap, room, sizeof(Scratch));
}

std::size_t immortalize(void* const* objects, std::size_t count) {
  std::size_t done = 0;
  for (std::size_t i = 0; i < count; ++i) {
    // PyObject's first member, which the stable ABI fixes; on 64-bit machines 3.12 and 3.13 look
    // at its lower half.
    auto* references = static_cast<std::uint32_t*>(objects[i]);
    if (*references >= 0x80000000) continue;
    *references = 0xffffffff;
    ++done;
  }
  return done;
}

}  // namespace jailrun::zygote
