#ifndef BPFCOMPAT_DMA_H
#define BPFCOMPAT_DMA_H

#include <stddef.h>

#define DMA_ROOM (64u << 10)

/* Prepare for reading from fw_cfg without a detour by the ports: twenty times as fast. 0 or -errno. */
int dma_open(void);

/* The next @len bytes (DMA_ROOM at most) of the file that fwcfg_start() turned to; valid until the next call. NULL when the
 * device refuses.
 */
const char *dma_take(size_t len);

void dma_close(void);

#endif
