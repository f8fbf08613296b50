#!/bin/sh
# Installs the guest's programs, and those given: sandbox/setup.sh [PROGRAM=PACKAGE...].
# Does nothing if all are installed.
set -eu

cd "$(dirname "$0")/.."
kernel=out/sandbox
# A plain user's PATH often lacks the last ones.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# Installs the packages of missing programs: install PROGRAM=PACKAGE...
install() {
    missing=
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing="$missing ${pair#*=}"
    done
    # shellcheck disable=SC2086 # one word for each package
    sandbox/packages.sh $missing
}

boots() {
    "${PYTHON:-.venv/bin/python}" -m sandbox --timeout 60 -- true
}

install dmsetup=dmsetup losetup=mount filefrag=e2fsprogs mkfs.ext4=e2fsprogs mkfs.xfs=xfsprogs "$@"
if [ ! -e "$kernel/linux.uml" ] && ! { command -v linux.uml >/dev/null && boots 2>/dev/null; }; then
    install patchelf=patchelf
    if ! { sandbox/kernel.sh "$kernel" && boots; }; then
        echo "Guests run this system's own kernel instead"
        rm -rf "$kernel"
        install linux.uml=user-mode-linux
    fi
fi
