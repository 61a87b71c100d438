/* Freezes as wire.md says, with the validator's own hands takes clock and seed of its spec, and says what it then has. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include "guest.h"
#include "env.h"
#include "fwcfg.h"


int main(void)
{
	char *freeze, *spec = NULL, *seed, byte, line[64];
	unsigned char random[16];
	struct timespec now;
	int report;

	env_setup();
	report = env_serial_port();
	if (fwcfg_open())
		say(report, "no fw_cfg\n");
	if (fwcfg_read("opt/bpfcompat/freeze", 16, &freeze) >= 0) {
		say(report, "BPFCR\n");
		while (read(report, &byte, 1) != 1)
			;
		if (fwcfg_open())
			say(report, "no fw_cfg\n");
	}
	fwcfg_read("opt/bpfcompat/spec", 4096, &spec);
	if (env_set_clock(strtoull(strstr(spec, "clock=") + 6, NULL, 10)))
		say(report, "no clock\n");
	seed = strstr(spec, "seed=") + 5;
	seed[SEED_HEX] = '\0';
	if (env_seed(seed))
		say(report, "no seed\n");
	clock_gettime(CLOCK_REALTIME, &now);
	getrandom(random, sizeof(random), 0);
	snprintf(line, sizeof(line), "%lld ", (long long)now.tv_sec);
	say(report, line);
	for (unsigned i = 0; i < sizeof(random); i++) {
		snprintf(line, sizeof(line), "%02x", random[i]);
		say(report, line);
	}
	say(report, "\ndone\n");
	wait_for_the_host();
}
