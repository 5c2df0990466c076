#!/usr/bin/env bash
# Fetch 119 photographs and 96 cut-outs (photographed animals, plants and things on a transparent ground).
#
#   recipes/base/fetch_photographs.sh DIR      then: sora clips index DIR/pictures
#                                              and:  python recipes/base/pan_photographs.py DIR CLIPS
#
# They come out of Debian packages (most of wallpapers) under free licences; photographs.tsv lists every one by hash, with
# licence, author, caption and split. What of these packages is drawn, rendered or a portrait is not in the list. 81
# have at least 1000 pixels on the shorter side, 35 others are 512x512. Nothing is installed, nothing of it is part of
# this repository. Needs apt-get (or the .deb files in DIR/packages already), Python, and 1 GB of disk; fetches 440 MB.
#
# Writes DIR/pictures and DIR/cutouts with a metadata.jsonl each, and DIR/LICENCES.tsv. The same command again fetches only
# what is missing; DIR/packages may be deleted afterwards.
set -euo pipefail

if [ $# -ne 1 ]; then
  echo "usage: $0 DIR" >&2
  exit 2
fi
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

bash "$here/fetch_debian.sh" "$1/packages" \
  budgie-backgrounds=3.0-1 gnome-control-center-data=1:48.4-1~deb13u1 lomiri-wallpapers-16.04=20.04.0-4 \
  lomiri-wallpapers-20.04=20.04.0-4 lxqt-themes=2.1.0-1 mate-backgrounds=1.26.0-1 palapeli-data=4:25.04.0-1 \
  plasma-workspace-data=4:6.3.6-2 plasma-workspace-wallpapers=4:6.3.4-1 tuxpaint-stamps-default=2025.03.31-1 \
  ukui-wallpapers=20.04.4-1
"${PYTHON:-python3}" "$here/unpack_listed.py" "$here/photographs.tsv" "$1/packages" "$1"
echo "$1"
