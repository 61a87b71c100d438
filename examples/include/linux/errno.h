/* What libbpf's usdt.bpf.h takes of this header; the kernel's own needs the headers of one machine. */
#pragma once

#define ENOENT 2
#define ESRCH 3
#define EINVAL 22
