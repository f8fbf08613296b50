#!/bin/sh
# Installs Debian packages: sandbox/packages.sh PACKAGE...
set -eu

if [ $# -eq 0 ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "missing, and there is no apt-get to install it: $*" >&2
    exit 1
fi
root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "missing, and this is not root and has no sudo: apt-get install $*" >&2
        exit 1
    fi
    root=sudo
fi

apt() {
    # Just after boot, automatic upgrades may hold the lock.
    $root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

echo "Installing $*"
apt update
apt install --no-install-recommends "$@"
