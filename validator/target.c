/* A program to attach to, without a library: built on its own and put inside the validator (target_file.c).
 *
 * Its USDT probe is written out as systemtap's notes lay it down (type 3 of "stapsdt" in .note.stapsdt: place, base,
 * semaphore, then provider, name and arguments, each with a NUL).
 */
#include <asm/unistd.h>

#include "target.h"

__asm__(".section .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n"
	".weak _.stapsdt.base\n"
	"_.stapsdt.base: .space 1\n"
	".previous\n");

__attribute__((noinline)) int target_function(int number)
{
	__asm__ volatile("990: nop\n"
			 ".pushsection .note.stapsdt, \"\", \"note\"\n"
			 ".balign 4\n"
			 ".long 992f - 991f, 994f - 993f, 3\n"
			 "991: .asciz \"stapsdt\"\n"
			 "992: .balign 4\n"
			 "993: .quad 990b\n"
			 ".quad _.stapsdt.base\n"
			 ".quad 0\n"
			 ".asciz \"" TARGET_PROVIDER "\"\n"
			 ".asciz \"" TARGET_PROBE "\"\n"
			 ".asciz \"-4@%%edi\"\n"
			 "994: .balign 4\n"
			 ".popsection\n" : "+D"(number));
	return number + 1;
}

void _start(void) __attribute__((noreturn));

void _start(void)
{
	long code = target_function(41) == 42 ? 0 : 1;

	__asm__ volatile("syscall" : : "a"(__NR_exit), "D"(code) : "rcx", "r11", "memory");
	__builtin_unreachable();
}
