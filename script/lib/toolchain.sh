# Sourced by the scripts: finds Bun, installs what is missing. Sets BUN.

# npm's bun package moves its binary in a postinstall script; where npm refuses those it stays in the platform's package.
find_bun() {
  local candidate
  for candidate in node_modules/bun/bin/bun.exe node_modules/.bin/bun node_modules/@oven/bun-*/bin/bun; do
    if [ -x "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then
      BUN="$PWD/$candidate"
      export BUN
      return 0
    fi
  done
  return 1
}

need_node_modules() {
  if [ node_modules/.package-lock.json -ot package-lock.json ] || ! find_bun; then
    echo "installing the npm packages of package-lock.json" >&2
    # Not `npm ci`: it refuses a lock file whose optional packages for other platforms a registry does not carry.
    npm install --no-save --no-audit --no-fund --loglevel=error >&2
    touch node_modules/.package-lock.json
  fi
  find_bun || { echo "no Bun in node_modules after npm install: is this platform supported?" >&2; exit 1; }
}

# need_packages NAME...: Debian packages, installed only when one is missing.
need_packages() {
  local missing=() name
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  echo "installing Debian packages: ${missing[*]}" >&2
  install_packages "${missing[@]}" >/dev/null || {
    apt-get update -q >/dev/null
    install_packages "${missing[@]}" >/dev/null
  }
}

install_packages() {
  # Never start a service because its package came: policy-rc.d would be global, so the start is declined by environment.
  # Nor wait for the disk after each file: a machine that goes down meanwhile begins anew.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    -o Dpkg::Options::=--force-unsafe-io "$@"
}

need_root() {
  [ "$(id -u)" = 0 ] || { echo "$0: needs root: namespaces, mounts and cgroups are the host's" >&2; exit 1; }
}

# The real docker CLI: on PATH, or the one of Debian's docker.io package, unpacked into dist/ so that no daemon is installed.
need_docker_cli() {
  command -v docker >/dev/null && return 0
  if [ ! -x dist/peer/usr/bin/docker ]; then
    unpack_packages docker.io
    if [ ! -x dist/peer/usr/bin/docker ]; then unpack_packages docker-cli; fi
  fi
  export PATH="$PWD/dist/peer/usr/bin:$PATH"
}

# The buildx and compose plugins, for tests: the newest that Debian has and run here, and those of trixie, which people have now. They
# come through an apt of its own, so that nothing of another suite gets into this system. In dist/buildx/ and dist/buildx/older/.
need_buildx() {
  local folder="$PWD/dist/buildx"
  unpack_plugins "$folder/older" trixie &
  local older=$!
  unpack_plugins "$folder" sid || { wait "$older"; cp "$folder"/older/docker-* "$folder/"; }
  wait "$older"
}

# unpack_plugins FOLDER SUITE
unpack_plugins() {
  local folder="$1" suite="$2" work="$1/unpacked" apt deb
  [ -x "$folder/docker-buildx" ] && [ -x "$folder/docker-compose" ] && return 0
  mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $suite main" > "$work/sources.list"
  apt=(apt-get -q -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State="$work/state" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$work/cache")
  (cd "$work" && "${apt[@]}" update && "${apt[@]}" download docker-buildx docker-compose) >/dev/null 2>&1
  for deb in "$work"/docker-*.deb; do dpkg-deb -x "$deb" "$work/root"; done
  find "$work/root" -path '*/cli-plugins/docker-*' -type f -perm -u+x -exec cp {} "$folder/" \;
  rm -rf "$work"
  # One that was built for a newer system does not start here.
  "$folder/docker-buildx" version >/dev/null 2>&1 && "$folder/docker-compose" version >/dev/null 2>&1
}

# unpack_packages NAME...: into dist/peer, without installing them.
unpack_packages() {
  local folder=dist/peer
  mkdir -p "$folder/debs"
  (cd "$folder/debs" && { apt-get download -q "$@" >/dev/null || { apt-get update -q >/dev/null && apt-get download -q "$@" >/dev/null; }; })
  local deb
  for deb in "$folder"/debs/*.deb; do dpkg-deb -x "$deb" "$folder"; done
}
