/* Floods the console, and reports all the same. */
#include "guest.h"

int main(void)
{
	for (int i = 0; i < 2000; i++)
		say(1, "noise noise noise noise noise noise\n");
	if (fork()) {
		say(open_report(), "done\n");
		wait_for_the_host();
	}
	for (;;)
		say(1, "noise noise noise noise noise noise\n");
}
