#!/bin/sh
# Installs what the guest takes from the system, and what else is named: sandbox/setup.sh [PROGRAM=PACKAGE...].
# Does nothing where all of it is there.
set -eu

# A plain user's PATH often lacks the last ones.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
missing=
for pair in linux.uml=user-mode-linux dmsetup=dmsetup losetup=mount \
    filefrag=e2fsprogs mkfs.ext4=e2fsprogs mkfs.xfs=xfsprogs "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing="$missing ${pair#*=}"
done
# shellcheck disable=SC2086 # one word for each package
exec "$(dirname "$0")/packages.sh" $missing
