/* Begins a report and then says nothing any more. */
#include "guest.h"

int main(void)
{
	say(open_report(), "begun\n");
	wait_for_the_host();
}
