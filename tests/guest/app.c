/* A program that a project ships: what its object's probes are placed in. Its USDT note is as sys/sdt.h writes one. */
#include <stdio.h>

__attribute__((noinline)) int work(int number)
{
	__asm__ volatile("990: nop\n"
			 ".pushsection .note.stapsdt, \"\", \"note\"\n"
			 ".balign 4\n"
			 ".long 992f - 991f, 994f - 993f, 3\n"
			 "991: .asciz \"stapsdt\"\n"
			 "992: .balign 4\n"
			 "993: .quad 990b, 0, 0\n"
			 ".asciz \"app\"\n"
			 ".asciz \"done\"\n"
			 ".asciz \"-4@%%edi\"\n"
			 "994: .balign 4\n"
			 ".popsection\n" : "+D"(number));
	return number * 2;
}

int main(void)
{
	printf("%d\n", work(21));
	return 0;
}
