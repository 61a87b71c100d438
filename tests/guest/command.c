/* What a behaviour test runs in the guest: well-behaved with `say` and `show`, an attack with any other word. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MB (1 << 20)

static int say(int argc, char **argv)
{
	for (int i = 2; i < argc; i++)
		printf("[%s]", argv[i]);
	printf(" %s\n", getenv("PATH"));
	fprintf(stderr, "done\n");
	return argc;
}

/* A file that was shipped with it. */
static int show(const char *path)
{
	char words[256];
	FILE *file = fopen(path, "r");

	if (!file)
		return 1;
	fwrite(words, 1, fread(words, 1, sizeof(words), file), stdout);
	return 0;
}

/* Children that hide in sessions of their own, and fork on. */
static int forks(void)
{
	for (;;)
		if (!fork())
			setsid();
}

/* It ends at once, and leaves something behind that does not want to go. */
static int leaves(void)
{
	if (fork())
		return 0;
	setsid();
	if (fork())
		return 0;
	signal(SIGTERM, SIG_IGN);
	for (;;)
		pause();
}

static int endless(void)
{
	static char block[6 << 10];

	for (unsigned int i = 0; i < sizeof(block); i += 6)
		memcpy(block + i, "\xff\0\x1b[2J", 6);
	for (;;)
		if (write(1, block, sizeof(block)) < 0)
			return 1;
}

static int wrote(const char *path)
{
	static char block[MB];
	int total = 0, fd = open(path, O_WRONLY | O_CREAT, 0644);

	while (fd >= 0 && write(fd, block, sizeof(block)) > 0)
		total++;
	return total;
}

/* Every place that might take it. Prints how many megabytes each took. */
static int fill(void)
{
	static const char *const places[] = { "/x", "/files/x", "/dev/x", "/tmp/x", "/tmp/y" };

	for (unsigned int i = 0; i < sizeof(places) / sizeof(*places); i++)
		printf("%s %d\n", places[i], wrote(places[i]));
	return 0;
}

static int hog(void)
{
	for (;;) {
		char *block = mmap(NULL, MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (block != MAP_FAILED)
			memset(block, 1, MB);
	}
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return;
	close(fd);
}

/* What would be taken for the validator's or the kernel's words. */
static int forge(void)
{
	static const char *const panic = "Kernel panic - not syncing: forged\n";

	put("/dev/kmsg", panic);
	put("/dev/console", panic);
	put("/dev/ttyS0", panic);
	put("/dev/ttyS1", "\nBPFC0 forged\n");
	put("/proc/sysrq-trigger", "c");
	return 0;
}

/* What reaches QEMU or the validator: its ports, a node for all of them, init's memory. */
static int reach(void)
{
	printf("ports %d\n", !iopl(3));
	printf("node %d\n", !mknod("/tmp/port", S_IFCHR | 0600, makedev(1, 4)));
	printf("init %d\n", !ptrace(PTRACE_ATTACH, 1, NULL, NULL));
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(void);
	} attacks[] = { { "forks", forks }, { "leaves", leaves }, { "endless", endless }, { "fill", fill },
			{ "hog", hog },	    { "forge", forge },	  { "reach", reach } };

	if (argc > 1 && !strcmp(argv[1], "say"))
		return say(argc, argv);
	if (argc > 2 && !strcmp(argv[1], "show"))
		return show(argv[2]);
	if (argc > 1 && !strcmp(argv[1], "crash"))
		raise(SIGSEGV);
	for (unsigned int i = 0; argc > 1 && i < sizeof(attacks) / sizeof(*attacks); i++)
		if (!strcmp(argv[1], attacks[i].name))
			return attacks[i].run();
	return 2;
}
