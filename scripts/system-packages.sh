#!/usr/bin/env bash
# Install the programs and libraries (*.so*) named as arguments with apt where they are missing: program[=package] …
# Says what to do by hand where that is not possible, and fails only then.
set -eu
missing=()
for item in "$@"; do
  program=${item%%=*} package=${item##*=}
  case "$program" in
    *.so*) /sbin/ldconfig -p 2>/dev/null | grep -F "$program" >/dev/null || missing+=("$package") ;;
    *) command -v "$program" >/dev/null 2>&1 || missing+=("$package") ;;
  esac
done
[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
  echo "missing: ${missing[*]}; no apt-get here, install them with your system's package manager" >&2
  exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null 2>&1 || { echo "missing: ${missing[*]}; run as root: apt-get install ${missing[*]}" >&2; exit 1; }
  as_root=sudo
fi
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
