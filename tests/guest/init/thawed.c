/* Freezes as the validator does, with the validator's own parts; then tells the time and some random bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "env.h"
#include "fwcfg.h"

static const char *line(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? at + strlen(name) : "";
}

int main(void)
{
	char *spec, *none, seed[SEED_HEX + 1] = "", byte;
	unsigned long long random = 0;
	int port;

	env_setup();
	port = env_report_port();
	fwcfg_open();
	if (fwcfg_read("opt/bpfcompat/freeze", 16, &none) >= 0) {
		dprintf(port, "BPFCR\n");
		tcdrain(port);
		if (read(port, &byte, 1) != 1)
			dprintf(port, "nothing came\n");
	}
	fwcfg_read("opt/bpfcompat/spec", 4096, &spec);
	strncpy(seed, line(spec, "seed="), SEED_HEX);
	if (env_set_clock(strtoull(line(spec, "clock="), NULL, 10)) || env_seed(seed))
		dprintf(port, "refused\n");
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		dprintf(port, "no random\n");
	dprintf(port, "%lld %llx\ndone\n", (long long)time(NULL), random);
	for (;;)
		pause();
}
