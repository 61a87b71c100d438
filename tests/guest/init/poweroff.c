/* Begins a report and powers off in the middle of it. */
#include "guest.h"

int main(void)
{
	say(open_report(), "begun\n");
	reboot(RB_POWER_OFF);
}
