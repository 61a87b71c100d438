/* Never says a word on the report port, nor ends. */
#include "guest.h"

int main(void)
{
	say(1, "init: \x1b[31mhere\x1b[0m\n");
	wait_for_the_host();
}
