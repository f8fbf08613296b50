#!/bin/sh
# Downloads a user-mode-linux kernel into a folder, with the C library that it needs: sandbox/kernel.sh DIR
#
# The kernel is Debian 14's, on any release. Debian 12's stops at its first process on processors whose registers
# exceed its buffer (those with AMX: put_fp_registers in arch/um/os-Linux/registers.c, fixed in Linux 6.13), and on
# others takes twice as long for a page fault.
# Nothing is installed and no root is needed, except for patchelf if it is missing.
set -eu

release=forky
to=$(realpath -m "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The archive that this system's own packages come from.
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
if [ -z "$archive" ]; then
    echo "apt-get knows no archive of Debian: apt-get update" >&2
    exit 1
fi
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $release main" >"$work/sources.list"

apt() {
    (cd "$work" && apt-get -q -q -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Acquire::Languages=none -o APT::Sandbox::User=root "$@" </dev/null)
}

echo "Fetching the kernel of guests"
apt update
apt download user-mode-linux libc6
for package in "$work"/*.deb; do
    dpkg-deb --extract "$package" "$work/files"
done
library=$(dirname "$(find "$work/files" -name 'ld-linux-*.so.*' -type f)")
rm -rf "$to"
mkdir -p "$to"
mv "$library" "$to/lib"
mv "$work/files/usr/lib/uml/modules" "$to/modules"
patchelf --set-interpreter "$(find "$to/lib" -name 'ld-linux-*.so.*')" --set-rpath "$to/lib" \
    --output "$work/linux.uml" "$work/files/usr/bin/linux.uml"
chmod 755 "$work/linux.uml"
# Installed last: if it exists, so does the rest.
mv "$work/linux.uml" "$to/linux.uml"
