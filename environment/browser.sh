#!/usr/bin/env bash
# See that there is a browser for the tests of the pages, where that takes nothing but apt.
#
# Usage: browser.sh
#
# A browser has a hundred libraries, which apt_download.sh would not find: it is installed, and only as root.
# Where there is none in the end, the tests say so and are skipped.
set -euo pipefail

for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then
        exit 0
    fi
done
# Ubuntu's package of that name only points to a snap.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && grep -qx 'ID=debian' /etc/os-release 2>/dev/null; then
    echo "Installing chromium for the tests of the pages"
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y chromium >/dev/null && exit 0
fi
echo "No browser: test_report_page.py and test_serving_page.py will be skipped. Install chromium or google-chrome for it."
