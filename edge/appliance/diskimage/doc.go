// Package diskimage reads and changes a disk that carries the appliance, as an image file or a
// block device. It mounts nothing and needs no root.
//
// What happens to the data:
//
//  1. ReadTable reads the GUID partition table (UEFI 2.10, 5.3): both headers and their checksums.
//     If one copy is damaged, it uses the other and the Table says so.
//  2. Open opens the FAT file system of a partition after checking every chain and folder in it. A
//     damaged file system is never changed.
//  3. FAT.Replace replaces a folder with a set of files. It writes their clusters to free space and
//     syncs; then the allocation tables, and syncs; then the one sector of the root folder that
//     says where the folder begins. A crash at any moment leaves either the old folder or the new
//     one, complete; at worst some clusters belong to no file, which fsck.vfat finds.
//  4. Flash writes an image to a disk, and last its beginning, which makes it bootable. Then it
//     reads everything back and compares.
//
// No input is trusted: every number is checked against the size of the device before use, and a
// chain is followed for at most as many steps as there are clusters. Files get long names (VFAT).
//
// The FAT code is our own because the order of the writes is its whole purpose, and because it
// changes the partition that the machine boots from. Its tests compare it with fsck.vfat, mtools
// and the partition tools on the same disk.
package diskimage
