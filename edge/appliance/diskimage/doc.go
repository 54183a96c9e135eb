// Package diskimage reads and changes a disk that carries the appliance, as an
// image file or as a block device, without mounting anything and without root.
//
// What happens to the data:
//
//  1. ReadTable reads the GUID partition table (UEFI 2.10, 5.3): both headers and
//     their checksums; where one copy is damaged the other serves, and the Table says so.
//  2. Open opens the FAT file system of a partition, after it has looked at every
//     chain and folder of it: on one that is damaged nothing is changed.
//  3. FAT.Replace puts a tree of files in the place of a folder. Its clusters are
//     written where nothing is, and synced; then the allocation tables, synced; then
//     the one sector of the root folder that says where the tree begins. A crash at
//     any moment leaves the old tree or the new one, whole; what it can leave behind
//     is space that no file has, which fsck.vfat finds.
//  4. Flash writes an image to a disk: the beginning, which makes it bootable, last;
//     then it reads all of it back and compares.
//
// What is read is believed in nothing: every number is checked against the size of
// the device before it is used, and chains are followed for as long only as there
// are clusters. Files are written with long names as FAT has them (VFAT).
//
// The FAT code is the project's own, because the order of the writes is the point of
// it, and because what it touches is the partition that the machine boots from. It
// is held to what fsck.vfat, mtools and the table programs say of the same disk.
package diskimage
