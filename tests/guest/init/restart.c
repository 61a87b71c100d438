/* Restarts the machine before a word was said. */
#include "guest.h"

int main(void)
{
	reboot(RB_AUTOBOOT);
}
