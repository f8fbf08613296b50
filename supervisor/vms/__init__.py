"""Which virtual machine an image belongs to, from libvirt's files and QEMU's processes.

Import `watcher.VmWatcher` and `matching.Machine`; `search` runs in a child process. Imports the fleet.
"""
