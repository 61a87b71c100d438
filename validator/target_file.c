/* target.c, compiled on its own, inside the validator. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "target.h"

__asm__(".section .rodata\n"
	"target_start: .incbin \"" TARGET_BUILT "\"\n"
	"target_end:\n"
	".previous\n");
extern const char target_start[], target_end[];

void target_install(void)
{
	int fd = open(TARGET_PATH, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	if (fd < 0 || write(fd, target_start, target_end - target_start) != target_end - target_start)
		perror("validator: " TARGET_PATH);
	close(fd);
}
