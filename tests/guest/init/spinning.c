/* Begins a report, and is busy for ever without a sign of life. */
#include "guest.h"

int main(void)
{
	say(open_report(), "begun\n");
	for (;;)
		__asm__ volatile("");
}
