#ifndef BPFCOMPAT_TARGET_H
#define BPFCOMPAT_TARGET_H

/* The guest's own program that probes of user space can be attached to: static, with symbols and a USDT note. */
#define TARGET_PATH "/tmp/target"
#define TARGET_FUNCTION "target_function"
#define TARGET_PROVIDER "bpfcompat"
#define TARGET_PROBE "target"

/* Write it to its path: the initramfs holds the validator only. */
void target_install(void);

#endif
