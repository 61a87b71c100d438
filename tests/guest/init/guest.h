/* What the test inits share: no mounts, no modules, one report port, lines that go out whole. */
#include <fcntl.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

static inline int open_report(void)
{
	struct termios raw;
	int fd;

	mknod("/dev/ttyS1", S_IFCHR | 0600, makedev(4, 65));
	fd = open("/dev/ttyS1", O_RDWR | O_NOCTTY);
	tcgetattr(fd, &raw);
	cfmakeraw(&raw); /* or each newline would reach the host as two bytes */
	tcsetattr(fd, TCSANOW, &raw);
	return fd;
}

static inline void say_bytes(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t n = write(fd, bytes, size);

		if (n < 0)
			return;
		bytes += n;
		size -= n;
	}
}

static inline void say(int fd, const char *line)
{
	say_bytes(fd, line, strlen(line));
	tcdrain(fd);
}

static inline void wait_for_the_host(void)
{
	for (;;)
		pause();
}
