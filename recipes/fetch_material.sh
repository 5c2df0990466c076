#!/usr/bin/env bash
# Everything of docs/material.md in one go: fetched, made into clips, indexed, and merged into DIR/all/clips.jsonl.
#
#   recipes/fetch_material.sh DIR                  a quarter of an hour on two cores, 2.5 GB
#   recipes/fetch_material.sh DIR --limit 430      further arguments are those of `sora clips merge`
#
# Needs what the scripts it calls need: npm, apt-get or dpkg (for downloads alone), and
#
#   pip install "sora-trainer[emoji]" vizdoom
#
# The same command again makes only what is missing.
set -euo pipefail

if [ $# -lt 1 ]; then
  echo "usage: $0 DIR [options of sora clips merge]" >&2
  exit 2
fi

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
mkdir -p "$1"
cd "$1"
shift

photographs() {
  "$here/base/fetch_photographs.sh" photographs
  "$python" "$here/base/pan_photographs.py" photographs pans
  sora clips index pans
}
games() {
  "$python" "$here/base/record_games.py" games
  sora clips index games
}
downloads() {
  "$here/nano/fetch_emoji.sh" emoji
  sora clips index emoji/clips
  "$here/base/fetch_film.sh" film # held out: never merged
  sora clips index film/clips
}

# Side by side: the first two each keep a core busy, the third mostly waits.
jobs=()
for job in photographs games downloads; do
  "$job" > "$job.log" 2>&1 &
  jobs+=("$job:$!")
done
failed=0
for job in "${jobs[@]}"; do
  if ! wait "${job#*:}"; then
    echo "$0: ${job%:*} failed: the end of $PWD/${job%:*}.log says why" >&2
    tail -n 5 "${job%:*}.log" >&2
    failed=1
  fi
done
[ "$failed" = 0 ] || exit 1
exec sora clips merge all/clips.jsonl {pans,games,emoji/clips}/clips.jsonl --overwrite "$@"
