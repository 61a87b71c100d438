/* A report without an end. */
#include "guest.h"

int main(void)
{
	int report = open_report();

	for (;;)
		say(report, "more and more and more and more and more and more and more\n");
}
