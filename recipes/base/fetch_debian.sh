#!/usr/bin/env bash
# Put Debian packages into a folder, without installing them and without root; called by the fetch scripts here.
#
#   recipes/base/fetch_debian.sh DIR NAME=VERSION ...
#
# A package that is in DIR already, in any version, is kept. Else apt-get fetches it: that version from Debian's stable or
# unstable by the mirror that the machine uses, or any version that there or in the machine's own suites is. What cannot be
# had is named and left out: the lists of files behind say by hash which files count, not which package.
# Without apt-get, put the .deb files into DIR by hand.
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "usage: $0 DIR NAME=VERSION ..." >&2
  exit 2
fi
mkdir -p -- "$1"
dir=$(cd -- "$1" && pwd)
shift

find_missing() {
  missing=()
  local wanted
  for wanted in "$@"; do
    compgen -G "$dir/${wanted%%=*}_*.deb" >/dev/null || missing+=("$wanted")
  done
}

find_missing "$@"
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "$0: apt-get is missing; put these Debian packages into $dir: ${missing[*]}" >&2
  exit 5
fi

# Lists of our own, so that nothing of the machine's apt is touched.
lists="$dir/.apt"
trap 'rm -rf -- "$lists"' EXIT
private=(-o "Dir::Etc::sourcelist=$lists/sources.list" -o "Dir::Etc::sourceparts=-" -o "Dir::State=$lists"
  -o "Dir::State::status=$lists/status" -o "Dir::Cache=$lists/cache" -o "APT::Sandbox::User=$(id -un)")

mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
touch "$lists/status" "$lists/sources.list"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(CREATED_BY)' 2>/dev/null |
  awk '$2 == "Debian" && $3 == "Packages" && $1 !~ /security/ { print $1; exit }')
if [ -n "$mirror" ] && [ -f "$keys" ]; then
  printf "deb [signed-by=$keys] $mirror %s main\n" stable unstable >"$lists/sources.list"
  apt-get "${private[@]}" -qq update >&2
fi

cd "$dir"
echo "fetching ${missing[*]}" >&2
apt-get "${private[@]}" -qq download "${missing[@]}" 2>/dev/null || true
# One that is not to be had makes apt-get refuse all of them.
find_missing "$@"
for wanted in "${missing[@]}"; do
  name=${wanted%%=*}
  apt-get "${private[@]}" -qq download "$wanted" 2>/dev/null ||
    apt-get "${private[@]}" -qq download "$name" 2>/dev/null ||
    apt-get -qq download "$name" 2>/dev/null ||
    echo "$0: no package $name to be had, left out" >&2
done
