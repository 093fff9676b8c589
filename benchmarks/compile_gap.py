"""What remains of the way from a request to its first bytecode: compile() with cold caches.

    python3 benchmarks/compile_gap.py            or: jailrun run --cold benchmarks/compile_gap.py

Compiles one line again and again, at once and after a sleep; prints medians in microseconds.
"""

import time

LINE = "import time; print(time.monotonic_ns())"
ROUNDS = 200


def compile_us(gap_ms):
    took = []
    for _ in range(ROUNDS):
        if gap_ms:
            time.sleep(gap_ms / 1000)
        start = time.perf_counter_ns()
        compile(LINE, "/run/script.py", "exec", dont_inherit=True)
        took.append(time.perf_counter_ns() - start)
    took.sort()
    return took[ROUNDS // 2] / 1000


compile_us(0)
for gap in (0, 0.1, 1, 3, 10):
    print(f"compile() of one line after {gap:>4} ms of sleep: {compile_us(gap):6.1f} us")
