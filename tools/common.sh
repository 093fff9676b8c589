# Shared by tools/quickstart and tools/check: where we are, progress, packages. Sourced, not run.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
started=$SECONDS

say() { printf '[%3ds] %s\n' $((SECONDS - started)) "$*"; }
stop() { printf '%s\n' "$*" >&2; exit 1; }

# missing_packages FILE…: the names of those lists that are not installed. A|B: either will do.
missing_packages() {
  local name
  cat -- "$@" | while read -r name _; do
    [[ -z $name || $name == '#'* ]] && continue
    # shellcheck disable=SC2086 # the words are names
    [[ " $(dpkg-query -W -f '${db:Status-Status} ' ${name//|/ } 2>/dev/null)" == *' installed '* ]] || echo "$name"
  done
}

# available NAMES…: of each A|B the first that this system's lists have.
available() {
  local name each
  for name in "$@"; do
    for each in ${name//|/ }; do
      [[ $name != *'|'* || -n $(apt-cache madison "$each" 2>/dev/null) ]] && break
    done
    echo "$each"
  done
}

# install_packages FILE…: what is missing, by apt; root by sudo where needed.
install_packages() {
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
    stop "no apt here: install what tools/packages.txt lists by this system's means, then cmake --preset release"
  local missing as_root=()
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]} == 0)) && { say "packages: all there"; return; }
  if ((EUID != 0)); then
    command -v sudo >/dev/null || stop "no sudo here: as root, apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "packages: installing ${missing[*]}"
  local log; log=$(mktemp)
  if ! { "${as_root[@]}" apt-get update -q && mapfile -t missing < <(available "${missing[@]}") &&
         "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
           apt-get install -q -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    stop "packages cannot be installed; the lines above say why"
  fi
  rm -f "$log"
  say "packages: installed ${#missing[@]}"
}

# quietly LABEL COMMAND…: progress lines only; the output is shown where it fails.
quietly() {
  local label=$1 log begin=$SECONDS; shift
  log=$(mktemp)
  say "$label ..."
  if "$@" >"$log" 2>&1 </dev/null; then
    say "$label: done in $((SECONDS - begin)) s"
    rm -f "$log"
    return 0
  fi
  tail -n 60 "$log" >&2
  rm -f "$log"
  say "$label: FAILED after $((SECONDS - begin)) s"
  return 1
}

# Clones in other places share compilations: paths below the root count as relative.
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1

# build PRESET [TARGET]. ccache is asked for here and not above: on a bare machine it has only just been installed.
build() {
  local launcher=()
  if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  quietly "configure $1" cmake -S "$root" --preset "$1" "${launcher[@]}" &&
    quietly "build $1" cmake --build "$root/build/$1" -j "$(nproc)" --target "${2:-all}"
}
