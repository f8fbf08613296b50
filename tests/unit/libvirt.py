"""Files as libvirt writes them (libvirt.org/formatdomain.html): a running machine and a defined one."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

UUID = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"


def chain(files: Sequence[str]) -> str:
    """Return a disk's chain of backing files."""
    if not files:
        return "<backingStore/>"
    return (
        f"<backingStore type='file' index='3'><format type='qcow2'/><source file={quoteattr(files[0])}/>"
        f"{chain(files[1:])}</backingStore>"
    )


def disk(file: str, *backing: str) -> str:
    """Return a file-backed disk with its chain."""
    return f"""
      <disk type='file' device='disk'>
        <driver name='qemu' type='qcow2' cache='none' io='native'/>
        <source file={quoteattr(file)} index='1'/>
        {chain(backing)}
        <target dev='vda' bus='virtio'/>
        <alias name='virtio-disk0'/>
        <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
      </disk>"""


def _warning(name: str) -> str:
    return f"""<!--
WARNING: THIS IS AN AUTO-GENERATED FILE. CHANGES TO IT ARE LIKELY TO BE
OVERWRITTEN AND LOST. Changes to this xml configuration should be made using:
  virsh edit {escape(name.replace("--", "")).rstrip("-")}
or other application using the libvirt API.
-->

"""


def domain(name: str, *disks: str, uuid: str = UUID, more: str = "") -> str:
    """Return a defined machine, as in /etc/libvirt/qemu."""
    return (
        _warning(name)
        + f"""<domain type='kvm'>
  <name>{escape(name)}</name>
  <uuid>{uuid}</uuid>
  <metadata>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
      <libosinfo:os id="http://debian.org/debian/12"/>
    </libosinfo:libosinfo>
    <app:disk xmlns:app="http://example.org/app"><source file='/decoy.img'/><name>decoy</name></app:disk>
  </metadata>
  <memory unit='KiB'>1048576</memory>
  <vcpu placement='static'>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>{"".join(disks)}
    <controller type='pci' index='0' model='pcie-root'/>
    <filesystem type='mount'><source dir='/srv'/><target dir='srv'/></filesystem>
    <serial type='file'><source path='/var/log/console.log'/><target port='0'/></serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>{more}
</domain>
"""
    )


def running(name: str, *disks: str, pid: int = 4711, uuid: str = UUID, more: str = "") -> str:
    """Return a running machine, as in /run/libvirt/qemu, with a block job's files beside the domain."""
    body = (
        domain(name, *disks, uuid=uuid, more=more)
        .partition("-->\n\n")[2]
        .replace("<domain ", "<domain id='7' ")
    )
    return (
        _warning(name)
        + f"""<domstatus state='running' reason='booted' pid='{pid}'>
  <taint flag='high-privileges'/>
  <monitor path='/var/lib/libvirt/qemu/domain-7-web/monitor.sock' type='unix'/>
  <vcpus><vcpu id='0' pid='4720'/></vcpus>
  <qemuCaps><flag name='blockdev'/></qemuCaps>
  <name>decoy</name>
  <blockjobs active='yes'>
    <blockjob name='copy-vda' type='copy' state='ready'>
      <chains><disk type='file' format='qcow2'><source file='/decoy.img' index='9'/></disk></chains>
    </blockjob>
  </blockjobs>
{body}</domstatus>
"""
    )
