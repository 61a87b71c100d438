#ifndef BPFCOMPAT_DEVICES_H
#define BPFCOMPAT_DEVICES_H

/* The guest's network devices, by the names that a report gives them. */
#define DEVICE_LO "lo"
#define DEVICE_VETH "veth0"
#define DEVICE_DUMMY "dummy0"
#define DEVICE_NETKIT "netkit0"

/* Bring lo up, and make a veth pair, a dummy and a netkit pair where the kernel has them by now.  Call it again when
 * modules were loaded: what is there stays.
 */
void devices_prepare(void);

/* The index of a device, 0 if the guest has none of this name. */
int device_index(const char *name);

#endif
