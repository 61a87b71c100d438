/* Begins a report and returns: the kernel panics when its init is gone. */
#include "guest.h"

int main(void)
{
	say(open_report(), "begun\n");
	return 0;
}
