/* A loader of the tests: one deed after another, by name, in its arguments. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

extern char **environ;

static int is_object(const char *path)
{
	char magic[4] = "";
	int fd = open(path ?: "", O_RDONLY);

	return fd >= 0 && read(fd, magic, 4) == 4 && !memcmp(magic, "\177ELF", 4);
}

static void show(void)
{
	char folder[256];
	int fd;

	printf("cwd %s\nuid %d\n", getcwd(folder, sizeof(folder)), getuid());
	for (char **e = environ; *e; e++)
		printf("env %s\n", *e);
	printf("object %d\n", is_object(getenv("BPFCOMPAT_OBJECT")));
	printf("bpffs %d\n", !access("/sys/fs/bpf", W_OK) && !mkdir("/sys/fs/bpf/mine", 0700));
	printf("tracefs %d\n", !access("/sys/kernel/tracing/events", R_OK) || !access("/sys/kernel/debug/tracing", R_OK));
	printf("cgroup2 %d\n", !access("/sys/fs/cgroup/cgroup.procs", R_OK));
	printf("proc %d\n", !access("/proc/self/exe", R_OK));
	printf("null %d\n", open("/dev/null", O_RDWR) >= 0);
	fd = open("/sys/class/net/lo/flags", O_RDONLY);
	printf("lo %d\n", fd >= 0 && read(fd, folder, 3) == 3 && !memcmp(folder, "0x9", 3)); /* up and loopback */
	printf("input %d\n", (int)read(0, folder, 1));
	printf("bpf %d\n", (int)syscall(SYS_bpf, 0, NULL, 0) < 0 && errno != EPERM && errno != ENOSYS);
}

/* All that could reach the validator's report or QEMU: none may succeed. */
static void reach_out(void)
{
	char byte;
	int fd;

	printf("port %d\n", open("/dev/ttyS1", O_RDWR) >= 0 || open("/dev/kmsg", O_WRONLY) >= 0);
	printf("node %d\n", !mknod("/tmp/port", S_IFCHR | 0600, makedev(4, 65)));
	fd = open("/proc/1/mem", O_RDONLY);
	printf("memory %d\n", fd >= 0 && pread(fd, &byte, 1, 0x400000) == 1);
	printf("iopl %d\n", !syscall(SYS_iopl, 3));
	printf("kill %d\n", !kill(1, SIGKILL) && getppid() != 1);
}

static void fill(void)
{
	static char piece[1 << 20];
	int fd = open("/tmp/full", O_CREAT | O_WRONLY, 0600);
	size_t done = 0;

	memset(piece, 'x', sizeof(piece));
	while (write(fd, piece, sizeof(piece)) == sizeof(piece))
		done++;
	printf("%s\n", done > 8 ? "filled" : "nothing to fill");
	fflush(stdout);
}

static void linger(int detach)
{
	if (!fork()) {
		if (detach) {
			setsid();
			close(1);
			close(2);
		}
		for (;;)
			pause();
	}
}

static void bomb(void)
{
	for (;;)
		fork();
}

static void flood(void)
{
	for (int i = 0; i < 50000; i++)
		printf("%06d \033[31m\001\377\376 line\n", i);
	fflush(stdout);
}

static void eat(void)
{
	for (;;)
		memset(malloc(1 << 20), 1, 1 << 20);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "show"))
			show();
		else if (!strcmp(argv[i], "reach"))
			reach_out();
		else if (!strcmp(argv[i], "fill"))
			fill();
		else if (!strcmp(argv[i], "linger"))
			linger(0);
		else if (!strcmp(argv[i], "daemon"))
			linger(1);
		else if (!strcmp(argv[i], "bomb"))
			bomb();
		else if (!strcmp(argv[i], "flood"))
			flood();
		else if (!strcmp(argv[i], "eat"))
			eat();
		else if (!strcmp(argv[i], "hang"))
			for (;;)
				pause();
		else if (!strcmp(argv[i], "stop"))
			raise(SIGSTOP);
		else if (!strcmp(argv[i], "abort"))
			raise(SIGSEGV);
		else if (!strcmp(argv[i], "say") && i + 1 < argc)
			fprintf(stderr, "%s\n", argv[++i]);
		else if (!strcmp(argv[i], "exit") && i + 1 < argc)
			return atoi(argv[i + 1]);
	}
	return 0;
}
