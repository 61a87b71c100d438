/* Echoes the object and the spec that the host handed over through fw_cfg, says it is done, and waits to be ended. */
#include <stdint.h>
#include <sys/io.h>
#include "guest.h"

enum { SELECTOR = 0x510, DATA = 0x511, DIRECTORY = 0x19 };

static uint32_t big_endian(unsigned bytes)
{
	uint32_t value = 0;

	while (bytes--)
		value = value << 8 | inb(DATA);
	return value;
}

static void echo(int report, const char *wanted)
{
	uint32_t size = 0, key = 0;

	outw(DIRECTORY, SELECTOR);
	for (uint32_t files = big_endian(4); files; files--) {
		uint32_t file_size = big_endian(4), file_key = big_endian(2);
		char name[56];

		big_endian(2);
		for (unsigned i = 0; i < sizeof(name); i++)
			name[i] = inb(DATA);
		if (!strcmp(name, wanted)) {
			size = file_size;
			key = file_key;
		}
	}
	outw(key, SELECTOR);
	while (size--) {
		char byte = inb(DATA);

		say_bytes(report, &byte, 1);
	}
	say(report, "\n");
}

int main(void)
{
	int report = open_report();

	iopl(3);
	echo(report, "opt/bpfcompat/object");
	echo(report, "opt/bpfcompat/spec");
	say(report, "done\n");
	wait_for_the_host();
}
