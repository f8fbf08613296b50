/* Prints what dmstats takes from the kernel's headers, for test_ioctl.py, test_fiemap.py and test_files.py. */

#include <linux/dm-ioctl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stddef.h>
#include <stdio.h>

#define SHOW(name, value) printf("%s %lu\n", name, (unsigned long)(value))

int main(void)
{
    SHOW("dm_ioctl", sizeof(struct dm_ioctl));
    SHOW("dm_ioctl.data_size", offsetof(struct dm_ioctl, data_size));
    SHOW("dm_ioctl.data_start", offsetof(struct dm_ioctl, data_start));
    SHOW("dm_ioctl.flags", offsetof(struct dm_ioctl, flags));
    SHOW("dm_ioctl.dev", offsetof(struct dm_ioctl, dev));
    SHOW("dm_ioctl.name", offsetof(struct dm_ioctl, name));
    SHOW("dm_ioctl.uuid", offsetof(struct dm_ioctl, uuid));
    SHOW("dm_target_msg", sizeof(struct dm_target_msg));
    SHOW("dm_target_msg.message", offsetof(struct dm_target_msg, message));
    SHOW("DM_TARGET_MSG", DM_TARGET_MSG);
    SHOW("DM_BUFFER_FULL_FLAG", DM_BUFFER_FULL_FLAG);
    SHOW("DM_DATA_OUT_FLAG", DM_DATA_OUT_FLAG);
    SHOW("fiemap", sizeof(struct fiemap));
    SHOW("fiemap.fm_mapped_extents", offsetof(struct fiemap, fm_mapped_extents));
    SHOW("fiemap_extent", sizeof(struct fiemap_extent));
    SHOW("fiemap_extent.fe_logical", offsetof(struct fiemap_extent, fe_logical));
    SHOW("fiemap_extent.fe_physical", offsetof(struct fiemap_extent, fe_physical));
    SHOW("fiemap_extent.fe_length", offsetof(struct fiemap_extent, fe_length));
    SHOW("fiemap_extent.fe_flags", offsetof(struct fiemap_extent, fe_flags));
    SHOW("FS_IOC_FIEMAP", FS_IOC_FIEMAP);
    SHOW("FIEMAP_EXTENT_LAST", FIEMAP_EXTENT_LAST);
    SHOW("FIEMAP_EXTENT_UNKNOWN", FIEMAP_EXTENT_UNKNOWN);
    SHOW("FIEMAP_EXTENT_DELALLOC", FIEMAP_EXTENT_DELALLOC);
    SHOW("FIEMAP_EXTENT_ENCODED", FIEMAP_EXTENT_ENCODED);
    SHOW("FIEMAP_EXTENT_DATA_INLINE", FIEMAP_EXTENT_DATA_INLINE);
    SHOW("FIEMAP_EXTENT_UNWRITTEN", FIEMAP_EXTENT_UNWRITTEN);
    SHOW("FIEMAP_EXTENT_SHARED", FIEMAP_EXTENT_SHARED);
    SHOW("FS_IOC_GETVERSION", FS_IOC_GETVERSION);
    return 0;
}
